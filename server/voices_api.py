"""Who can speak: the speakers of the catalog."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from server.operations import service_of


async def voices(request: Request) -> Response:
    """``GET /v1/audio/voices``."""
    catalog = service_of(request).catalog
    listed = [
        {
            "id": speaker.name,
            "name": speaker.name,
            "description": speaker.description,
            "language": speaker.language,
            "aliases": list(speaker.aliases),
            "default": speaker is catalog.default,
            **({"unavailable": speaker.unavailable} if speaker.unavailable else {}),
            **({"warnings": list(speaker.warnings)} if speaker.warnings else {}),
        }
        for speaker in catalog.speakers
    ]
    return JSONResponse({"voices": listed}, headers={"ETag": f'"{catalog.etag}"'})


ROUTES: list[BaseRoute] = [Route("/v1/audio/voices", voices)]
"""This door's."""
