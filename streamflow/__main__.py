"""`python -m streamflow`."""

from streamflow.cli.main import app

if __name__ == "__main__":
    app()
