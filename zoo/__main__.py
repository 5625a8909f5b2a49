"""`python -m zoo fit --model NAME ...`: the scripts' front end, from an installed package."""

import os
import sys
from importlib.util import find_spec

# Python has put the working directory in front, where a torch.py of the user's would be torch.
if not sys.flags.safe_path and sys.path and sys.path[0] == os.getcwd():  # noqa: PTH109
    del sys.path[0]
    if find_spec("datamodules") is None:  # a checkout that is not installed
        sys.path.append(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120

from zoo.cli import main

if __name__ == "__main__":
    main()
