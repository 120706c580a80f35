"""Our bundles and those of the public tool."""

import base64
import json
from pathlib import Path

from models.digest import digest_of
from models.trust.keys import keyid_of, public_key_from_pem
from models.trust.keyset import init_development_keys, policy_of
from models.trust.oms import bundle_bytes, check_bundle, sign, verify_signature
from models.trust.policy import TrustedKey

# Made once by `model_signing sign key` 1.1.1 over two files; the public tool's own shape, white space and order.
PUBLIC_TOOLS_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3eEtneACFlOFL4w9kyy3L+DpFM+C
7vvOFxbQel1rIca5//4qAp4oOZFSXRDqetDlBlg2O/pGdKsKjcCd+Uxzgw==
-----END PUBLIC KEY-----
"""
PUBLIC_TOOLS_BUNDLE = (
    '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{'
    '"hint":"f16d35eed73c7d5b34e410e91062d3a99aef39abc79645dd84102f0236b033ac"},"tlogEntries":[]},"dsse'
    'Envelope":{"payload":"ewogICJfdHlwZSI6ICJodHRwczovL2luLXRvdG8uaW8vU3RhdGVtZW50L3YxIiwKICAic3ViamVj'
    "dCI6IFsKICAgIHsKICAgICAgIm5hbWUiOiAibSIsCiAgICAgICJkaWdlc3QiOiB7CiAgICAgICAgInNoYTI1NiI6ICJmZDVkMj"
    "hmNzRhNTEyYmY3MjdkYTQxZGMwOWQ2NGU5ODZlNDA1ZjYwNzg2NjI2YmI2OGMzNzNlOTViZDRjYjM1IgogICAgICB9CiAgICB9"
    "CiAgXSwKICAicHJlZGljYXRlVHlwZSI6ICJodHRwczovL21vZGVsX3NpZ25pbmcvc2lnbmF0dXJlL3YxLjAiLAogICJwcmVkaW"
    "NhdGUiOiB7CiAgICAic2VyaWFsaXphdGlvbiI6IHsKICAgICAgIm1ldGhvZCI6ICJmaWxlcyIsCiAgICAgICJhbGxvd19zeW1s"
    "aW5rcyI6IGZhbHNlLAogICAgICAiaGFzaF90eXBlIjogInNoYTI1NiIsCiAgICAgICJpZ25vcmVfcGF0aHMiOiBbCiAgICAgIC"
    "AgIi5naXRodWIiLAogICAgICAgICIuZ2l0YXR0cmlidXRlcyIsCiAgICAgICAgIi5naXRpZ25vcmUiLAogICAgICAgICIuZ2l0"
    "IgogICAgICBdCiAgICB9LAogICAgInJlc291cmNlcyI6IFsKICAgICAgewogICAgICAgICJkaWdlc3QiOiAiMmM4YjA4ZGE1Y2"
    "U2MDM5OGUxZjE5YWYwZTVkY2NjNzQ0ZGYyNzRiODI2YWJlNTg1ZWFiYTY4YzUyNTQzNDgwNiIsCiAgICAgICAgImFsZ29yaXRo"
    "bSI6ICJzaGEyNTYiLAogICAgICAgICJuYW1lIjogIm1vZGVsL2Eub25ueCIKICAgICAgfSwKICAgICAgewogICAgICAgICJkaW"
    "dlc3QiOiAiY2EzZDE2M2JhYjA1NTM4MTgyNzIyNjE0MDU2OGYzYmVmN2VhYWMxODdjZWJkNzY4NzhlMGI2M2U5ZTQ0MjM1NiIs"
    "CiAgICAgICAgImFsZ29yaXRobSI6ICJzaGEyNTYiLAogICAgICAgICJuYW1lIjogInJlbGVhc2UuanNvbiIKICAgICAgfQogIC"
    'AgXQogIH0KfQ==","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"MEUCIEHknLoFHyi'
    'y4iptgLguU0lGoFsf7XWRXwb4y06Vs7lQAiEAmfsLxCqdL1E9uQTAdPPvih+dVaUFhjspVktJStFrw3E=","keyid":""}]}}'
)
FILES = {"model/a.onnx": b"one\n", "release.json": b"{}\n"}


def test_a_bundle_by_the_public_tool_is_accepted() -> None:
    publisher = TrustedKey("ngc", keyid_of(public_key_from_pem(PUBLIC_TOOLS_KEY)), PUBLIC_TOOLS_KEY)
    digests = {name: digest_of(data) for name, data in FILES.items()}
    assert check_bundle(PUBLIC_TOOLS_BUNDLE.encode(), digests, [publisher]) == "ngc"


def test_our_bundle_has_the_fields_of_the_public_tools_bundle_and_no_others(tmp_path: Path) -> None:
    key = init_development_keys(tmp_path / "keys").private_key("publisher")
    ours = json.loads(bundle_bytes("m", {name: digest_of(data) for name, data in FILES.items()}, key))
    theirs = json.loads(PUBLIC_TOOLS_BUNDLE)
    assert _shape(ours) == _shape(theirs)
    payloads = [json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"])) for bundle in (ours, theirs)]
    assert payloads[0]["subject"] == payloads[1]["subject"]
    assert payloads[0]["predicate"]["resources"] == payloads[1]["predicate"]["resources"]
    for payload in payloads:
        payload["predicate"]["serialization"].pop("ignore_paths")
    assert payloads[0] == payloads[1]


def test_a_directory_signed_in_place_verifies_in_place_and_signing_again_replaces(tmp_path: Path) -> None:
    keys = init_development_keys(tmp_path / "keys")
    model = tmp_path / "m"
    (model / "model").mkdir(parents=True)
    for name, data in FILES.items():
        (model / name).write_bytes(data)
    for _ in range(2):
        sign(model, keys.private_key("publisher"))
        assert verify_signature(model, policy_of(keys).publishers) == "publisher"


def _shape(tree: object) -> object:
    if isinstance(tree, dict):
        return {name: _shape(value) for name, value in tree.items()}
    return [_shape(value) for value in tree] if isinstance(tree, list) else type(tree).__name__
