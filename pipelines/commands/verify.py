"""``loopline verify``: what vouches for a model image."""

import argparse

_DESCRIPTION = """\
Check what vouches for a model image as a promotion does: its signature, the result of its test, where it comes from
and, where approvers are named, who approved it. Nothing is written."""

_EPILOG = "exit status: 0 a site may be given it, 2 it may not; the line says why."


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``verify``."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("image", metavar="IMAGE", help="the image by digest")
    parser.add_argument("--require-approval", action="store_true", help="somebody must have approved it")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(command=_verify)


def _verify(options: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from loopline.components.delivery.admission import admit
    from loopline.components.delivery.approval import is_required
    from loopline.components.delivery.keys import load_keys

    admitted = admit(options.image, is_required(options.require_approval))
    if options.json:
        print(json.dumps(asdict(admitted), indent=2))
        return 0
    rows = [("model", f"{admitted.release.name} version {admitted.release.version}")]
    rows.append(("signature", f"of key {load_keys().fingerprint[:19]}"))
    rows += [("made of", line) for line in _dependencies(admitted.provenance)]
    rows += [("built by", line) for line in _builder(admitted.provenance)]
    rows.append(("test", f"passed: {', '.join(map(str, admitted.test.get('passedTests') or []))}"))
    rows += [("approved", f"by {one}, {one.time}: {one.reason}") for one in admitted.approvals] or [("approved", "-")]
    for title, text in rows:
        # What others wrote stays text: no control characters reach the terminal.
        print(f"{title:<10} {''.join(letter if letter.isprintable() else ' ' for letter in text)}")
    return 0


def _dependencies(provenance: dict) -> list[str]:
    found = provenance.get("buildDefinition", {}).get("resolvedDependencies") or []
    lines = []
    for one in found:
        digests = [f"{kind}:{value}" for kind, value in (one.get("digest") or {}).items()]
        changed = "with changes" if (one.get("annotations") or {}).get("changed") else ""
        lines.append(" ".join(filter(None, [f"{one.get('name')}:", one.get("uri", ""), *digests, changed])))
    return lines


def _builder(provenance: dict) -> list[str]:
    details = provenance.get("runDetails") or {}
    run = (details.get("metadata") or {}).get("invocationId")
    return [f"{(details.get('builder') or {}).get('id', '-')}{f', run {run}' if run else ''}"]
