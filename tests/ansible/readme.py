#!/usr/bin/env python3
"""The collection's README lists all variables as the roles' argument_specs have them: prints what differs, or
writes it with `--write`."""

import re
import sys
from pathlib import Path

import yaml

COLLECTION = Path(__file__).resolve().parent.parent.parent / "ansible"
README = COLLECTION / "README.md"
ROLES = ["godwit", "tls", "limits", "hardening", "monitoring", "backup"]
BEGIN, END = "<!-- variables: made by tests/ansible/readme.py --write -->\n", "<!-- /variables -->"


def marked(text):
    """Ansible's C(…) as Markdown."""
    text = re.sub(r"C\((.*?)\)(?=[\s,.;:]|$)", r"`\1`", " ".join(text.split()))
    return text.replace("{:}", ":").replace("|", "\\|")


def tables():
    """A section for each role."""
    lines = []
    for role in ROLES:
        spec = yaml.safe_load((COLLECTION / "roles" / role / "meta" / "argument_specs.yml").read_text())
        main = spec["argument_specs"]["main"]
        defaults = yaml.safe_load((COLLECTION / "roles" / role / "defaults" / "main.yml").read_text()) or {}
        lines += [f"### {role}: {main['short_description'].lower()}", ""]
        lines += [marked(" ".join(main["description"])), ""]
        lines += ["| variable | type | default | what |", "|---|---|---|---|"]
        for name, option in main["options"].items():
            required = option.get("required", False)
            if required == (name in defaults) or (not required and option["default"] != defaults[name]):
                sys.exit(f"{role}: {name}: defaults/main.yml and meta/argument_specs.yml do not agree")
            default = "**must be set**" if required else f"`{option['default']!r}`"
            kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
            lines.append(f"| `{name}` | {kind} | {default} | {marked(option['description'])} |")
        if set(defaults) - set(main["options"]):
            sys.exit(f"{role}: {set(defaults) - set(main['options'])} has no description")
        lines.append("")
    return "\n".join(lines)


def main():
    """Compares or writes."""
    old = README.read_text()
    head, rest = old.split(BEGIN)
    new = head + BEGIN + tables() + END + rest.split(END)[1]
    if "--write" in sys.argv:
        README.write_text(new)
    elif new != old:
        sys.exit("ansible/README.md is not what argument_specs say. Run: tests/ansible/readme.py --write")


if __name__ == "__main__":
    main()
