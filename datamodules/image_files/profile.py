"""What a folder of pictures holds, for a terminal: classes, sizes, what could not be read."""

import collections
import hashlib
import os
from pathlib import Path

from datamodules.errors import counted
from datamodules.image_files.cropping import ImageReader
from datamodules.image_files.listing import Listing
from datamodules.image_files.loading import Header, Loaded, duplicates_across

# Classes, and files that cannot be read, that are named one by one.
MOST_CLASSES, MOST_NAMED = 20, 5


def described(
    path: str,
    listing: Listing,
    headers: list[Header],
    reader: ImageReader,
    loaded: Loaded,
    files: dict[str, list[Path]],
) -> list[str]:
    """Return the profile of pictures, line by line.

    Args:
        path: Where they were looked for.
        listing: What was found there.
        headers: What each of its files says of its picture.
        reader: How they were read.
        loaded: The pictures, decoded.
        files: Those of every split that could be decoded.
    """
    labels = dict(zip(listing.files, listing.labels, strict=True))
    counts = collections.Counter(dict.fromkeys(listing.labels, 0))
    counts.update(labels[file] for found in files.values() for file in found)
    shown = list(counts.items())[:MOST_CLASSES]
    classes = ", ".join(f"{name} {count:,}" for name, count in shown)
    more = f" and {len(counts) - MOST_CLASSES} more" if len(counts) > MOST_CLASSES else ""
    widths, heights = zip(*(h.size for h in headers if not h.problem), strict=True)
    channels, height, width = reader.shape
    ranges = f"{min(widths)} x {min(heights)}"
    if (max(widths), max(heights)) != (min(widths), min(heights)):
        ranges += f" to {max(widths)} x {max(heights)}"
    sizes = {role: len(found) for role, found in files.items()}
    lines = [
        f"{path}: {sum(sizes.values()):,} pictures in {len(counts)} classes, of {ranges} pixels",
        f"classes: {classes}{more}",
        f"read as {'grey' if channels == 1 else 'RGB'}, {width} x {height}; "
        f"the first picture: {loaded.first}",
        ", ".join(f"{role} {size:,}" for role, size in sizes.items()),
    ]
    problems = [h.problem for h in headers if h.problem] + loaded.problems
    if problems:
        lines.append(f"warning: {len(problems)} unreadable, left out:")
        lines += [f"  {problem}" for problem in problems[:MOST_NAMED]]
        if len(problems) > MOST_NAMED:
            lines.append(f"  and {len(problems) - MOST_NAMED} more")
    if listing.ignored:
        lines.append(f"{counted(listing.ignored, 'file')} of other kinds left out")
    digests = {role: [loaded.digests[f] for f in found] for role, found in files.items()}
    if copies := duplicates_across(digests, files):
        one, other = copies[0]
        lines.append(
            f"warning: {counted(len(copies), 'picture')} in two splits, so that figures are too "
            f"good, such as '{one}' and '{other}'"
        )
    return lines


def content_digest(root: Path, loaded: Loaded) -> str:
    """Return one MD5 over the content of all files and their places below a folder."""
    digest = hashlib.md5(usedforsecurity=False)
    for file, content in sorted(loaded.digests.items()):
        digest.update(f"{os.path.relpath(file, root)} {content}\n".encode())
    return digest.hexdigest()
