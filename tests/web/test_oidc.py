"""Tokens of an OpenID provider: a real server with its keys, real signatures, and what is wrong with others."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from streamflow.web import oidc
from streamflow.web.access import Grant
from streamflow.web.identity import Access
from streamflow.web.oidc import BadToken, Provider, ProviderUnavailable, Verifier
from tests.web.workers import TABLE, workers

_RSA = rsa.generate_private_key(65537, 2048)
_STRANGERS = rsa.generate_private_key(65537, 2048)
_EC = ec.generate_private_key(ec.SECP256R1())


class Issuer:
    """A provider: its discovery document and its keys, over HTTP. `reads`: paths that were asked for."""

    def __init__(self) -> None:
        self.keys = [
            {**RSAAlgorithm.to_jwk(_RSA.public_key(), as_dict=True), "kid": "one", "use": "sig"},
            {**ECAlgorithm.to_jwk(_EC.public_key(), as_dict=True), "kid": "two"},
        ]
        self.reads: list[str] = []
        self.status = 200
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.reads.append(self.path)
                found = {"keys": issuer.keys} if self.path == "/keys" else issuer.document()
                body = json.dumps(found).encode()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def document(self) -> dict[str, str]:
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}

    def token(self, key: Any = _RSA, algorithm: str = "RS256", kid: str = "one", **claims: Any) -> str:
        now = int(time.time())
        given = {"iss": self.url, "aud": "streamflow", "sub": "ann", "exp": now + 300, "iat": now, "roles": ["viewer"]}
        kept = {name: value for name, value in (given | claims).items() if value is not None}
        return jwt.encode(kept, key, algorithm, {"kid": kid})

    @contextmanager
    def verifier(self, **changes: Any) -> Iterator[Verifier]:
        provider = replace(Provider(self.url, "streamflow"), **changes)
        yield Verifier(provider, httpx.AsyncClient(timeout=5))


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_token_says_who_and_what(issuer: Issuer) -> None:
    async def main() -> None:
        with issuer.verifier(algorithms=("RS256", "ES256"), roles_claim="realm.roles") as verifier:
            token = issuer.token(realm={"roles": ["viewer@table=a*", "somebody-elses", "publisher"]})
            who = await verifier.verify(token)
            assert who.name == "oidc:ann"
            assert who.grants == (Grant("viewer", (("table", "a*"),)), Grant("publisher"))
            assert verifier.remembered(token) == who
            spaced = await verifier.verify(issuer.token(_EC, "ES256", "two", realm={"roles": "admin offline"}))
            assert spaced.grants == (Grant("admin"),)
            assert (await verifier.verify(issuer.token(realm=7, sub="a\nb"))).name == "oidc:a?b"
            assert issuer.reads == ["/.well-known/openid-configuration", "/keys"], "read once"

    asyncio.run(main())


def test_what_is_not_taken(issuer: Issuer) -> None:
    now = int(time.time())
    public = issuer.keys[0]["n"]
    bad = {
        "of another issuer": issuer.token(iss="https://other.test"),
        "for another service": issuer.token(aud="others"),
        "expired": issuer.token(exp=now - 31),
        "not yet": issuer.token(nbf=now + 60),
        "without an end": issuer.token(exp=None),
        "of nobody": issuer.token(sub=None),
        "of a stranger's key": issuer.token(_STRANGERS),
        "of an unknown key": issuer.token(kid="three"),
        "of another algorithm": issuer.token(_EC, "ES256", "two"),
        "with the key of another algorithm": issuer.token(kid="two"),
        "symmetric, with the public key as its secret": issuer.token(public, "HS256"),
        "not signed": issuer.token(None, "none"),
        "changed": issuer.token()[:-4] + "AAAA",
        "no token": "a.b.c",
        "large": "a." + "b" * oidc.TOKEN_MAX_BYTES + ".c",
    }

    async def main() -> None:
        with issuer.verifier() as verifier:
            assert (await verifier.verify(issuer.token(exp=now - 10))).name == "oidc:ann", "clocks differ by less"
            for what, token in bad.items():
                with suppress(BadToken):
                    pytest.fail(f"{what}: {await verifier.verify(token)}")
                assert verifier.remembered(token) is None, what
            assert issuer.reads.count("/keys") == 1, "an unknown key does not make everybody read"

    asyncio.run(main())


def test_keys_are_replaced_and_a_provider_that_is_away_is_no_lock_out(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "REFRESH_LEAST_S", 0.0)

    async def main() -> None:
        with issuer.verifier(jwks_url=f"{issuer.url}/keys") as verifier:
            issuer.status = 500
            with pytest.raises(ProviderUnavailable):
                await verifier.verify(issuer.token())
            issuer.status = 200
            assert await verifier.verify(issuer.token())
            new = {**RSAAlgorithm.to_jwk(_STRANGERS.public_key(), as_dict=True), "kid": "three"}
            issuer.keys = [new]
            assert await verifier.verify(issuer.token(_STRANGERS, kid="three"))
            with pytest.raises(BadToken):
                await verifier.verify(issuer.token(sub="gone"))
            issuer.status = 500
            monkeypatch.setattr(oidc, "REFRESH_S", 0.0)
            assert await verifier.verify(issuer.token(_STRANGERS, kid="three", sub="still"))
            monkeypatch.setattr(oidc, "STALE_S", 0.0)
            with pytest.raises(ProviderUnavailable):
                await verifier.verify(issuer.token(_STRANGERS, kid="three", sub="too late"))

    asyncio.run(main())


def test_what_a_provider_may_not_say(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "REFRESH_LEAST_S", 0.0)
    documents = [
        {"issuer": "https://other.test", "jwks_uri": f"{issuer.url}/keys"},
        {"issuer": issuer.url, "jwks_uri": "http://other.test/keys"},
        {"issuer": issuer.url},
    ]

    async def main() -> None:
        with issuer.verifier() as verifier:
            for each in documents:
                monkeypatch.setattr(issuer, "document", lambda each=each: each)
                with pytest.raises(ProviderUnavailable):
                    await verifier.verify(issuer.token())
        assert "/keys" not in issuer.reads

    asyncio.run(main())


def test_tokens_over_http(issuer: Issuer) -> None:
    async def main() -> None:
        with issuer.verifier() as verifier:
            access = Access(oidc=verifier, worker_secret=b"s" * 32)
            async with workers(1, access=lambda url: access) as (one,), httpx.AsyncClient(base_url=one.url) as client:
                statuses = []
                for token in (issuer.token(), issuer.token(roles=["others"]), issuer.token(exp=1)):
                    answer = await client.get(TABLE, headers={"Authorization": f"Bearer {token}"})
                    statuses.append(answer.status_code)
                assert statuses == [200, 403, 401]
                assert "xpired" not in answer.text, "why is for the log"
        with issuer.verifier() as unread:
            issuer.status = 500
            access = Access(oidc=unread, worker_secret=b"s" * 32)
            async with workers(1, access=lambda url: access) as (one,), httpx.AsyncClient(base_url=one.url) as client:
                answer = await client.get(TABLE, headers={"Authorization": f"Bearer {issuer.token()}"})
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")

    asyncio.run(main())
