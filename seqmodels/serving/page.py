"""The page to type into, and the policy that allows its own script and style alone."""

import base64
import hashlib
import html
import re
from functools import cache
from pathlib import Path


@cache
def page(name: str) -> str:
    """The page for a model of that name."""
    text = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    return text.replace("{{name}}", html.escape(name))


@cache
def policy(text: str) -> str:
    """The content security policy of a page: nothing but what stands in it, and calls of its own server."""
    kinds = {kind: _hash(re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)[0]) for kind in ("script", "style")}
    return (
        f"default-src 'none'; script-src '{kinds['script']}'; style-src '{kinds['style']}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
