"""Which models there are, as OpenAI and Open WebUI list them: the one of this server."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from server.dialects import elevenlabs
from server.openapi import NOT_FOUND, ApiRoute, Operation
from server.operations import service_of

OWNER = "indextts-stream"


async def models(request: Request) -> Response:
    """``GET /v1/models``; whoever comes with ElevenLabs' key header gets ElevenLabs' list."""
    if elevenlabs.KEY_HEADER in request.headers:
        return await elevenlabs.models(request)
    return JSONResponse({"object": "list", "data": [_model(request)]})


async def speech_models(request: Request) -> Response:
    """``GET /v1/audio/models``: Open WebUI reads ``models``, others ``data``."""
    listed = [_model(request)]
    return JSONResponse({"object": "list", "data": listed, "models": listed})


async def model(request: Request) -> Response:
    """``GET /v1/models/{model}``."""
    found = _model(request)
    if request.path_params["model"] != found["id"]:
        raise HTTPException(404, "there is no model of that name")
    return JSONResponse(found)


def _model(request: Request) -> dict[str, Any]:
    return {
        "id": service_of(request).info.name,
        "object": "model",
        "created": request.app.state.created_s,
        "owned_by": OWNER,
    }


ROUTES: list[BaseRoute] = [
    ApiRoute("/v1/models", models, Operation()),
    ApiRoute("/v1/models/{model}", model, Operation(errors=(NOT_FOUND,))),
    ApiRoute("/v1/audio/models", speech_models, Operation()),
]
