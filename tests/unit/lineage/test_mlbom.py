"""The ML-BOM: a CycloneDX 1.7 view that says what the claims say, and the same thing each time.

With `cyclonedx-python-lib[json-validation]` 11.12.0 its output passed the strict 1.7 validator; that package is
not a dependency, so what the schema asks for is asserted here by hand.
"""

import json
import re
from typing import Any

from models.digest import digest_of, hex_of
from models.lineage.chain import verify_chain
from models.lineage.mlbom import mlbom_from_chain
from models.release.manifest import ReleaseManifest
from tests.fakes.repositories import Recipe
from tests.fakes.workshop import (
    CALIBRATION,
    CHECKPOINT,
    DATASET,
    FINISHED,
    GRAPHS,
    LEAF,
    QUANTISED,
    RACK,
    Workshop,
    lineage,
)

RELEASE = digest_of(b"release.json")


def bom() -> dict[str, Any]:
    """The BOM of a four-step lineage."""
    workshop, recipe = Workshop(), Recipe()
    manifest = ReleaseManifest(
        name="drive",
        version="1.0.0",
        counter=1,
        hardware=("thor-t5000",),
        precision="nvfp4",
        contract=recipe.contract,
        limits=recipe.limits,
        files=(),
        model_digest=LEAF,
        checkpoint_digest=CHECKPOINT,
        ancestors=(),
        created_utc=FINISHED,
    )
    chain = verify_chain(workshop.file(lineage()), workshop.policy, LEAF)
    return mlbom_from_chain(chain, manifest, RELEASE)


def test_the_bom_names_release_ancestors_and_data() -> None:
    found = bom()
    model = found["metadata"]["component"]
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.7")
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "drive", "1.0.0")
    hashes = [ancestor["hashes"][0]["content"] for ancestor in model["pedigree"]["ancestors"]]
    assert hashes == [hex_of(QUANTISED), hex_of(GRAPHS), hex_of(CHECKPOINT)]
    assert {part["bom-ref"] for part in found["components"]} == {DATASET, CALIBRATION}


def test_the_bom_says_that_the_rack_is_emulated_and_only_claimed() -> None:
    said = {
        p["name"]: p["value"]
        for p in bom()["metadata"]["component"]["pedigree"]["ancestors"][-1]["properties"]
    }
    assert said["roskva:rack.chassis_serial"] == RACK.chassis_serial
    assert (said["roskva:rack.emulated"], said["roskva:rack.evidence"]) == ("true", "claimed")


def test_every_reference_in_the_bom_leads_somewhere() -> None:
    found = bom()
    known = {found["metadata"]["component"]["bom-ref"], *(part["bom-ref"] for part in found["components"])}
    used = {entry["ref"] for entry in found["dependencies"]}
    used |= {ref for entry in found["dependencies"] for ref in entry.get("dependsOn", ())}
    used |= {
        entry["ref"] for entry in found["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"]
    }
    assert used == known


def test_one_release_has_one_bom() -> None:
    assert json.dumps(bom()) == json.dumps(bom())
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bom()["serialNumber"])
