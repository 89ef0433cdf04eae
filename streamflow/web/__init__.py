"""The HTTP application; the only package that imports fastapi and uvicorn."""
