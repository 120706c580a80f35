"""The console's pages."""

from fastapi import FastAPI
from fleet.server import FleetServer


def mount(app: FastAPI, server: FleetServer) -> None:
    """Later."""
