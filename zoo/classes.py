"""Classes by their dotted paths, as recipes and weights files name them."""

import difflib
import importlib

from zoo.errors import UserError


def class_at(path: str) -> type:
    """Return the class at a dotted path.

    Raises:
        UserError: If there is no such module or class; an error inside the module is passed on.
    """
    module_name, _, class_name = path.rpartition(".")
    if not module_name:
        raise UserError(f"'{path}' is not the dotted path of a class, such as my_module.{path}.")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"There is no module '{module_name}' for the class '{path}'. A module of your own is "
            "found where its recipe is, and in the working directory."
        ) from error
    if not hasattr(module, class_name):
        close = difflib.get_close_matches(class_name, dir(module), n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"There is no class '{class_name}' in '{module_name}'.{hint}")
    return getattr(module, class_name)
