"""The secret that a host shows to the server: its own, once it is enrolled."""

import os
import secrets
from pathlib import Path

from naru.agent.start import StartError


def own_secret(path: Path) -> str:
    """The credential kept in `path` (0600), made at first. It is on disk before the server hears of it. Raises StartError."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
                file.flush()
                os.fsync(file.fileno())
            new.rename(path)
        return path.read_text().strip()
    except OSError as error:
        raise StartError(f"cannot keep this host's credential in {path}: {error.strerror}; set state_dir") from error
