"""The HTTP server: its address, its sockets, what it tells of a request."""

import asyncio
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import uvloop
from fastapi import FastAPI

from streamflow.errors import SettingsError
from streamflow.web.app import HttpServer, Tls
from streamflow.web.http_protocol import HEAD_MAX_BYTES
from tests.secured import Authority
from tests.web.workers import workers


def test_small_answers_do_not_wait_for_nagle() -> None:
    """Plain asyncio sets TCP_NODELAY only on sockets that name the protocol."""

    async def main() -> None:
        async with workers(1) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            await client.get("/healthz")
            server = one.server._server
            assert server is not None
            (connection,) = server.server_state.connections
            accepted = connection.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    asyncio.run(main())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "0", "0:0:0:0:0:0:0:0", "000.0.0.0"])
def test_an_address_that_nobody_can_reach_has_to_be_advertised(host: str) -> None:
    with pytest.raises(SettingsError, match="STREAMFLOW_ADVERTISED_URL"):
        HttpServer(host, 0)


def test_the_advertised_address_is_what_others_are_told() -> None:
    server = HttpServer("0.0.0.0", 0, "http://worker-1:8080/")
    assert server.url == "http://worker-1:8080"
    asyncio.run(server.stop())


def test_an_ipv6_address_is_a_url_in_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    server = HttpServer("::1", 0)
    assert server.url.startswith("http://[::1]:")
    asyncio.run(server.stop())


def test_a_taken_port_is_named() -> None:
    server = HttpServer("127.0.0.1", 0)
    with pytest.raises(SettingsError, match="STREAMFLOW_HTTP_PORT"):
        HttpServer("127.0.0.1", int(server.url.rpartition(":")[2]))
    asyncio.run(server.stop())


def test_a_request_keeps_its_id_or_gets_one() -> None:
    async def main() -> None:
        async with workers(1) as (one,), httpx.AsyncClient(base_url=one.url) as client:
            for given in ("abc1", "2b6f0cc9-04d1-4a3c-9a3e-6a4f5d1c0d77", "a.b_c"):
                assert (await client.get("/healthz", headers={"x-request-id": given})).headers["x-request-id"] == given
            made = [(await client.get("/healthz")).headers["x-request-id"] for _ in range(2)]
            assert len(set(made)) == 2
            for bad in ("a b", "x" * 129, "a;b", ""):
                assert (await client.get("/healthz", headers={"x-request-id": bad})).headers["x-request-id"] != bad

    asyncio.run(main())


def test_a_stop_does_not_wait_for_clients_that_keep_their_connections(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Over TLS a connection ends with a word of both sides, and a client does not look at what it keeps for later."""
    authority = Authority(tmp_path)
    certificate, key = authority.give("web")
    trust = ssl.create_default_context(cafile=authority.certificate)

    async def main() -> None:
        server = HttpServer("127.0.0.1", 0, tls=Tls(certificate, key))
        server.serve(FastAPI())
        async with httpx.AsyncClient(base_url=server.url, verify=trust, timeout=60) as client:
            assert (await client.get("/")).status_code == 404
            await server.stop()

    uvloop.run(main())
    assert "graceful shutdown exceeded" not in caplog.text


def test_headers_without_end_are_cut_off_and_long_bodies_are_not() -> None:
    async def main() -> None:
        async with workers(1) as (one,):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(one.url.rpartition(":")[2]))
            body = b" " * (HEAD_MAX_BYTES + 1)
            head = b"POST /v1/topics/t.sales/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            for _ in range(2):  # one after the other on a connection, also when a head ends in several reads
                for part in (head[:20], head[20:], b"Content-Length: %d\r\n\r\n" % len(body), body):
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.01)
                assert b" 422 " in await reader.readline()
                while (await reader.readline()).strip():
                    pass
                assert b'"empty"' in await reader.readuntil(b"}")
            with pytest.raises(OSError):  # noqa: PT012
                for _ in range(1_000):
                    writer.write(b"X-Filler: " + b"x" * 1_000 + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)
                raise AssertionError("it took a megabyte of headers")
            writer.close()

    asyncio.run(main())
