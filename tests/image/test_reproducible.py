"""Two builds of one commit give the same root hash. `make test-image`; takes a whole build."""

import datetime
import json
import os
import shutil
import subprocess

import pytest
from guest import BUILD_SECONDS_MAX, CACHE, OUT, ROOT, newest_image

pytestmark = [
    pytest.mark.skipif(newest_image() is None, reason="no image in image/out: make image"),
    pytest.mark.timeout(BUILD_SECONDS_MAX + 100),
]


def hashes(folder, version):
    """The partitions' UUIDs, the two halves of the root hash, and the checksums of what was made."""
    names = sorted(path.name for path in folder.glob(f"godwit_{version}_*.gz"))
    assert len(names) == 2, names
    sums = dict(reversed(line.split()) for line in (folder / "SHA256SUMS").read_text().splitlines())
    return names, {name: sums[name] for name in [*names, f"godwit_{version}.efi.gz"]}


def test_a_second_build_of_this_commit_has_the_same_root_hash():
    version = newest_image().stem.removeprefix("godwit_")
    bill = json.loads((OUT / f"godwit_{version}.spdx.json").read_text())
    built = int(datetime.datetime.fromisoformat(bill["creationInfo"]["created"]).timestamp())
    commit = subprocess.check_output(["git", "-C", ROOT, "log", "-1", "--format=%ct"], text=True)
    if built != int(os.environ.get("SOURCE_DATE_EPOCH") or commit):
        pytest.skip("the image in image/out is of another commit: make image")
    again = CACHE / "again"
    shutil.rmtree(again, ignore_errors=True)
    # Everything anew: packages are installed again too.
    env = {**os.environ, "IMAGE_VERSION": version, "IMAGE_OUT": str(again), "SOURCE_DATE_EPOCH": str(built)}
    env.pop("IMAGE_INCREMENTAL", None)
    try:
        subprocess.run([ROOT / "image/bin/build"], check=True, env=env, timeout=BUILD_SECONDS_MAX)
        names, sums = hashes(again, version)
        print(f"root hash of both builds: {names}; kernel image {sums}")
        assert (names, sums) == hashes(OUT, version)
    finally:
        shutil.rmtree(again, ignore_errors=True)
