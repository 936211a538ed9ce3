"""Names for patients that tell nobody who they are: keyed hashes, the key kept by the user."""

import hashlib
import hmac
import os
import secrets
import unicodedata
from functools import lru_cache
from pathlib import Path

from medssl.errors import UserError

KEY = "~/.config/medssl/patient.key"
KEY_BYTES = 32
DIGITS = 10
PATIENT = rf"p-[0-9a-f]{{{DIGITS}}}"


def key(path: Path | None = None) -> bytes:
    """The 32 secret bytes behind all pseudonyms, drawn on first use and readable by the user only.

    They lie in `KEY`; sites that must agree on pseudonyms share the file.
    Raises UserError KEY if the file cannot be made or is no key.
    """
    return _read(os.fspath(path) if path else os.path.expanduser(KEY))


def pseudonym(text: str, prefix: str, path: Path | None = None) -> str:
    """`prefix`-10 hex digits: HMAC-SHA256 of the text; case, extra spaces, and whether accents are characters
    of their own do not matter."""
    plain = unicodedata.normalize("NFC", " ".join(str(text).split())).casefold()
    code = hmac.new(key(path), plain.encode("utf-8", "surrogateescape"), hashlib.sha256)
    return f"{prefix}-{code.hexdigest()[:DIGITS]}"


@lru_cache
def _read(name: str) -> bytes:
    path = Path(name)
    try:
        if not path.exists():
            _create(path)
        secret = path.read_bytes()
    except OSError as error:
        cause = f"the patient key cannot be read or made ({error.strerror})"
        raise UserError("KEY", path, cause, "make the folder writable for you") from error
    if len(secret) != KEY_BYTES:
        cause = f"the patient key has {len(secret)} bytes, expected {KEY_BYTES}"
        raise UserError("KEY", path, cause, "restore it from a backup; a new key breaks old links")
    return secret


def _create(path: Path) -> None:
    """Write a new key under a temporary name and link it: of two processes, one wins whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(KEY_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        if not path.exists():
            os.link(temporary, path)
    except FileExistsError:
        return  # another process was first; its key is the one to read
    finally:
        temporary.unlink()
