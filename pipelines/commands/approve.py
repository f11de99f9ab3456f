"""``loopline approve``: approve a model image, so that a delivery that waits for it goes on."""

import argparse
import getpass
import os

_DESCRIPTION = """\
Approve a model image: attach a statement to it, signed with your own key. Signature, test and provenance of the image
are checked first, with the key that images are built with (COSIGN_PUBLIC_KEY, else this machine's own).

A pair of keys, whose public half goes into LOOPLINE_APPROVERS_KEYS:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out approver.key
  openssl pkey -in approver.key -pubout -out approver.pub"""


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``approve``."""
    parser.description, parser.formatter_class = _DESCRIPTION, argparse.RawDescriptionHelpFormatter
    parser.add_argument("image", metavar="IMAGE", help="the image by digest, as the delivery names it")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why: a decision, a ticket")
    parser.add_argument("--name", default="", metavar="NAME", help="who you are (default: this machine's user)")
    parser.add_argument(
        "--key",
        default="",
        metavar="FILE",
        help="your private key (default: LOOPLINE_APPROVER_KEY); COSIGN_PASSWORD opens it",
    )
    parser.add_argument("--withdraw", action="store_true", help="take your approval back")
    parser.set_defaults(command=_approve)


def _approve(options: argparse.Namespace) -> int:
    from loopline.components.delivery.admission import admit
    from loopline.components.delivery.approval import APPROVER, approve
    from loopline.components.delivery.keys import load_keys
    from loopline.components.errors import InputError

    key = options.key or os.environ.get(APPROVER, "")
    if not key:
        raise InputError(f"There is no key to approve with: give --key FILE or set {APPROVER}; see --help.")
    release = admit(options.image).release
    used = approve(
        options.image, load_keys(), key, options.name or _user(), options.reason,
        f"{release.name} version {release.version}", options.withdraw,
    )  # fmt: skip
    done = "no longer approved" if options.withdraw else "approved"
    print(f"{release.name} version {release.version} is {done} with key {used[:19]}: {release.image}")
    return 0


def _user() -> str:
    """Return this machine's user; empty for one without a name, as pods have."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
