"""`demo`: a page in the browser on which a network is tried."""

import socket
from typing import Any

from zoo.cli import CommandParser, Trust
from zoo.errors import UserError
from zoo.extras import require_extra

# Nothing but this server is asked for anything, whatever gradio's page would like to load.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


def main(argv: list[str]) -> None:
    """Run `demo` with these arguments."""
    parser = CommandParser(
        prog="demo",
        description="A page on this machine alone: images are drawn or uploaded, tables filled in, "
        "sentences and numbers typed.",
    )
    parser.add_argument("--weights", required=True, help="run, .safetensors file or name")
    parser.add_argument("--port", type=int, default=0, help="a free one if not given")
    parser.add_argument("--trust", action=Trust)
    chosen = parser.parse_args(argv)
    require_extra("demo", "The page", "gradio")
    from zoo.cards import weights_path

    path = weights_path(chosen.weights)
    with listening(chosen.port) as listener:
        from zoo.console import quiet
        from zoo.weights import load_weights

        quiet()
        model = load_weights(path)
        from zoo.deployment.demo import Page

        serve(Page(model).build(), listener)


def listening(port: int) -> socket.socket:
    """Return a socket of 127.0.0.1 that nobody else can take."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise UserError(
            f"Port {port} cannot be used ({getattr(error, 'strerror', None) or error}): leave "
            "--port out, and a free one is taken."
        ) from error
    return listener


class KeepToThisHost:
    """Adds the policy to every answer.

    No `app.middleware("http")`: that one stands between a stream of events and its reader, and an
    answer of gradio's that comes in such a stream could stay away.

    Args:
        app: What answers.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, with the policy."""
        from starlette.datastructures import MutableHeaders

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self.app(scope, receive, send_with_policy)


def serve(page: object, listener: socket.socket) -> None:
    """Show a page until Ctrl-C."""
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    app = gr.mount_gradio_app(FastAPI(), page, path="/", footer_links=[])
    kept = KeepToThisHost(app)
    server = uvicorn.Server(uvicorn.Config(kept, log_level="error", timeout_graceful_shutdown=1))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}  until Ctrl-C", flush=True)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        print()
