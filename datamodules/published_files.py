"""The four IDX files of MNIST or FashionMNIST: where they are, and how they come there."""

import contextlib
import io
import shutil
import socket
import tempfile
from pathlib import Path

from filelock import FileLock

from datamodules.errors import UserError
from datamodules.idx import first_line

#: The files of either dataset: split -> (images, labels).
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
FILE_NAMES = [name for pair in FILES.values() for name in pair]
DOWNLOAD_TIMEOUT_S = 20


class PublishedFiles:
    """The files of a dataset in a folder.

    Args:
        name: The dataset's, as torchvision calls it.
        data_dir: The folder, in torchvision's layout (`NAME/raw/...`) or with the files in it.
    """

    def __init__(self, name: str, data_dir: Path) -> None:
        self.name, self.data_dir = name, data_dir

    def find(self, file_name: str) -> Path | None:
        """Return where a file is, plain or gzipped; None if it is not there."""
        for folder in (self.data_dir / self.name / "raw", self.data_dir):
            for path in (folder / file_name, folder / f"{file_name}.gz"):
                try:
                    if path.is_file():
                        return path
                except OSError as error:  # a folder that may not be read
                    raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error
        return None

    def is_complete(self) -> bool:
        """Return whether all four files are there."""
        if self.data_dir.exists() and not self.data_dir.is_dir():
            raise UserError(f"--data.data_dir '{self.data_dir}' is a file, not a folder.")
        return all(map(self.find, FILE_NAMES))

    def download(self) -> str:
        """Download what is missing with torchvision, which verifies checksums.

        The files arrive in a temporary folder and move in one by one, so an interrupted download
        leaves nothing half-written and no file that was there is touched.

        Returns:
            Why it could not be done, or nothing.

        Raises:
            UserError: If some of the files are there and others cannot be fetched.
        """
        from torchvision import datasets

        raw = self.data_dir / self.name / "raw"
        lock = raw / ".downloading"
        timeout = socket.getdefaulttimeout()
        made = [folder for folder in (raw, *raw.parents) if not folder.exists()]
        try:
            raw.mkdir(parents=True, exist_ok=True)
            with (
                FileLock(lock),  # processes that no Trainer has started
                tempfile.TemporaryDirectory(dir=raw) as folder,
            ):
                if self.is_complete():
                    return ""
                socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
                with contextlib.redirect_stdout(io.StringIO()):
                    getattr(datasets, self.name)(folder, download=True)
                for path in Path(folder, self.name, "raw").glob("*-ubyte"):
                    if not self.find(path.name):
                        shutil.move(path, raw / path.name)
        except Exception as error:  # the network fails in many ways; all mean "no download"
            missing = [name for name in FILE_NAMES if not self.find(name)]
            if len(missing) < len(FILE_NAMES):
                raise UserError(
                    f"{self.name} in '{self.data_dir}' is incomplete: {', '.join(missing)} "
                    f"missing, and cannot be downloaded ({first_line(error)}). Add it, or pass "
                    "--data.source synthetic."
                ) from error
            return " ".join(str(error).split())[:200]
        finally:
            socket.setdefaulttimeout(timeout)
            with contextlib.suppress(OSError):  # leave no empty folder of ours behind
                lock.unlink(missing_ok=True)
                for empty in made:
                    empty.rmdir()
        return ""
