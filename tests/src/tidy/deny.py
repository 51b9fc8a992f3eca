#!/usr/bin/env python3
"""Checks .deny.toml's bans, licences and sources over `cargo metadata`, without cargo-deny (which only `cargo install` would bring)."""
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def built(target: str) -> set[tuple[str, str]]:
    """Names and versions of what is built for a platform, tests and build scripts included. `cargo metadata` would also count
    optional packages that nothing switches on."""
    tree = ["cargo", "tree", "--locked", "--workspace", f"--target={target}", "--prefix=none", "--format={p}"]
    lines = subprocess.run(tree, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {(name, version.lstrip("v")) for name, version in (line.split(" ")[:2] for line in lines if line)}


def permitted(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be satisfied by allowed licences only."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    words = []
    while tokens:
        token = tokens.pop(0)
        if token in ("AND", "OR"):
            words.append(token.lower())
        elif token in "()":
            words.append(token)
        else:
            if tokens[:1] == ["WITH"]:
                token = " ".join([token, tokens.pop(0), tokens.pop(0)])
            words.append(str(token in allowed or token.split(" WITH ")[0] in allowed))
    return eval(" ".join(words), {"__builtins__": {}})  # only True, False, and, or, ( and )


def main() -> int:
    policy = tomllib.loads((ROOT / ".deny.toml").read_text())
    metadata = json.loads(subprocess.run(["cargo", "metadata", "--locked", "--format-version=1"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    banned = {b["name"]: b["reason"] for b in policy["bans"]["deny"]}
    allowed = set(policy["licenses"]["allow"])
    packages, wrong = set.union(*map(built, policy["graph"]["targets"])), []
    for package in metadata["packages"]:
        if (package["name"], package["version"]) not in packages:
            continue
        name = f"{package['name']} {package['version']}"
        if package["name"] in banned:
            wrong.append(f"{name} is banned: {banned[package['name']]}")
        if not permitted(package["license"] or "none", allowed):
            wrong.append(f"{name} has the licence {package['license']}, which .deny.toml does not allow")
        if package["source"] and not package["source"].startswith("registry+"):
            wrong.append(f"{name} comes from {package['source']}")
        wrong += [f"{name} asks for any version of {d['name']}" for d in package["dependencies"] if package["source"] is None and d["req"] == "*" and not d.get("path")]
    print("\n".join(wrong) or f"{len(packages)} packages keep to .deny.toml")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
