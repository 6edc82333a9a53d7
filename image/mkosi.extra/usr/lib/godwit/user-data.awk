# Reads the part of a #cloud-config file that /usr/lib/godwit/nocloud tells of, and writes each credential into a folder.
# Variables: `store`, the folder; `known`, their names with a blank around each. What it cannot read it names on standard
# error, with the line; then it writes nothing and ends with 1. Not YAML: plain and quoted values, blocks with |.
function bad(what) { print "NoCloud: user-data, line " NR ": " what > "/dev/stderr"; wrong = 1 }
function give(name, text) { given[name] = given[name] text }
# A plain value without its quotes or its comment.
function plain(text) {
  if (text ~ /^".*"$/ || text ~ /^\047.*\047$/) return substr(text, 2, length(text) - 2)
  sub(/[ \t]+#.*$/, "", text)
  if (text ~ /^[>|&*!%@`{["\047]/) bad("of YAML, only plain values, quoted ones and blocks with | are read")
  return text
}
NR == 1 && !/^#cloud-config[ \t]*$/ { bad("the first line is not #cloud-config"); exit }
{ indent = match($0, /[^ ]/) - 1 }
# Inside a block: until a line that stands no deeper than its name.
block != "" && (indent > depth || indent < 0) {
  if (inner < 0 && indent >= 0) inner = indent
  give(block, (indent < 0 ? "" : substr($0, inner + 1)) "\n")
  next
}
{ block = "" }
indent < 0 || /^ *#/ { next }
/^ *\t/ { bad("a tab where blanks are to be"); next }
indent == 0 && !/^- / { top = $0; sub(/:.*/, "", top); level = -1 }
top == "ssh_authorized_keys" && /^ *- / {
  sub(/^ *- +/, "")
  give("ssh.authorized_keys", plain($0) "\n")
  next
}
indent == 0 { if (top == "ssh_authorized_keys" && !/:[ \t]*$/) bad("a list is to follow, each key on a line with -"); next }
top == "godwit" {
  if (level < 0) level = indent
  if (indent != level || !match($0, /: */)) { bad("no NAME: VALUE, as deep as the one before"); next }
  name = substr($0, indent + 1, RSTART - indent - 1)
  value = substr($0, RSTART + RLENGTH)
  if (!index(known, " " name " ")) { bad("godwit has no " name); next }
  if (value ~ /^\|[+-]?[ \t]*$/) { block = name; depth = indent; inner = -1; next }
  give(name, plain(value))
}
END {
  if (wrong) exit 1
  for (name in given) printf "%s", given[name] > (store "/godwit." name)
}
