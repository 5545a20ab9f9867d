"""Packages of Debian that hold images: where their files are, and that they are the expected ones.

>>> package = Package("some-images", "some/images", "SOME_DIR", "1.0")
>>> package.check(b"", "e3b0c44298fc1c14", "a.png")
Traceback (most recent call last):
  ...
ValueError: Expected the SHA-256 of a.png to begin with e3b0c44298fc1c14, got no such file. ...
>>> rows("cutouts.tsv")[0][:2]
['sports/australian_rules_football.png', 'ball']
"""

import hashlib
import importlib.resources
import os
import sys
from pathlib import Path
from typing import NamedTuple

from xai_jax.core.messages import excerpt, quoted
from xai_jax.io.files import user_path


def rows(file: str) -> list[list[str]]:
    """The cells of a table of this package, which lists files of a package of Debian."""
    text = importlib.resources.files("xai_jax.data").joinpath(file).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]


class Package(NamedTuple):
    """A package, its `folder` below share/, the environment `variable` that names another folder, and its `version`."""

    name: str
    folder: str
    variable: str
    version: str = ""

    def find(self) -> Path | None:
        """The folder that the variable names, Debian's, the one that scripts/data.sh unpacked, or None.

        Raises FileNotFoundError where the variable names no folder.
        """
        chosen = os.environ.get(self.variable)
        if chosen and not user_path(chosen).is_dir():
            raise FileNotFoundError(
                f"Expected {self.variable} to name a folder, {self.folder} of Debian's package {self.name}, got "
                f"{quoted(chosen, 200)}. Without the variable, the one that scripts/data.sh unpacks is found."
            )
        installed = [Path(root, "share", self.folder) for root in ("/usr", sys.prefix)]
        paths = [user_path(chosen)] if chosen else installed
        return next((path for path in paths if path.is_dir()), None)

    def root(self) -> Path:
        """The same folder. Raises FileNotFoundError where the package is not on this machine."""
        root = self.find()
        if root is None:
            raise FileNotFoundError(
                f"Expected the images of Debian's package {self.name}: `apt-get install {self.name}`, or unpack it and "
                f"let {self.variable} name the folder /usr/share/{self.folder} in it. Usual cause: the set-up found no "
                "Debian mirror."
            )
        return root

    def check(self, content: bytes, digest: str, where: object) -> None:
        """Raises ValueError for a file, empty if it does not exist, whose SHA-256 does not begin with `digest`."""
        found = hashlib.sha256(content).hexdigest()[:16] if content else "no such file"
        if found != digest:
            raise ValueError(
                f"Expected the SHA-256 of {excerpt(where)} to begin with {digest}, got {found}. The file is damaged or "
                f"of another version than {self.name} {self.version}."
            )
