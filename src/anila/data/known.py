"""Image sets known by name: found locally, or fetched once from their public address.

A name is looked for in `$ANILA_DATA/<name>`, in `./data/<name>` and in the cache; only then is it downloaded.
The published flowers102 has its labels in a separate file, so a downloaded one has none.
"""

import os
from pathlib import Path
from typing import NamedTuple

from anila.data.cache import Progress
from anila.data.download import download


class Known(NamedTuple):
    """A published image set: the base address of its files, and their MD5 sums by name."""

    address: str
    files: dict[str, str]


KNOWN: dict[str, Known] = {
    "cifar10": Known(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d13530"},
    ),
    "flowers102": Known(
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        {"102flowers.tgz": "52808999861908f626f3c1f4e79d11fa"},
    ),
    "mnist": Known(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": Known(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}


def locate(name: str, cache: Path, progress: Progress | None = None) -> Path:
    """The folder that holds a known image set.

    Args:
        name: A name of `KNOWN`.
        cache: Cache folder; a download goes to `cache/<name>`.
        progress: Called as progress(bytes done, bytes in all) while a file is fetched.

    Raises:
        FileNotFoundError: If it is not there and cannot be downloaded; it says what to put where by hand.
    """
    places = [Path(root, name).absolute() for root in (os.environ.get("ANILA_DATA"), "data") if root]
    for place in places:
        if place.is_dir():
            return place
    known, folder = KNOWN[name], cache / name
    for file, md5 in known.files.items():
        if not (folder / file).is_file():
            fetch(name, known.address + file, folder / file, md5, places, progress)
    return folder


def fetch(name: str, address: str, path: Path, md5: str, places: list[Path], progress: Progress | None) -> None:
    try:
        download(address, path, md5, progress)
    except (ConnectionError, ValueError) as error:
        looked = ", ".join(str(place) for place in (*places, path.parent))
        raise FileNotFoundError(
            f"{name} is not in {looked}, and the download failed: {error}; "
            f"put {path.name} from {address} (md5 {md5}) into a folder {name}/, set ANILA_DATA to its parent"
        ) from error
