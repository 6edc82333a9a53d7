/* Opens /dev/null as often as it can and says how often that was, and what stopped it. Put into a guest by a test and
 * started by the daemon's unit, so that the unit's own limits are what stops it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    long opened = 0;
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
        opened++;
    printf("opened %ld descriptors beside 3, then: %s\n", opened, strerror(errno));
    return 0;
}
