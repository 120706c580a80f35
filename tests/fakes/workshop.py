"""A workshop: builders with keys in memory, the policy that knows them, and a lineage of four steps."""

from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)

from models.digest import Digest, digest_of
from models.lineage.claim import (
    BundleParameters,
    Claim,
    CodeRef,
    ConvertParameters,
    Parameters,
    Parent,
    ParentRole,
    QuantiseParameters,
    Step,
    TrainingParameters,
    sign_claim,
)
from models.lineage.facts import Evidence, Facts, Gpu, Rack, Run, Tray
from models.trust.keys import keyid_of, pem_of
from models.trust.policy import Builder, TrustPolicy

CHECKPOINT, GRAPHS, QUANTISED, LEAF = (
    digest_of(name) for name in (b"checkpoint", b"graphs", b"quantised", b"leaf")
)
DATASET, CALIBRATION = digest_of(b"drives"), digest_of(b"calibration")
STARTED, FINISHED = "2026-11-01T08:00:00Z", "2026-11-01T09:00:00Z"
RACK = Rack(
    system="Vera Rubin NVL72",
    chassis_serial="EMU7200000042",
    cluster_uuid="e0d1c2b3-a495-4867-9978-8a9bacbdcedf",
    clique_id=1,
    emulated=True,
    evidence=Evidence.CLAIMED,
    trays=(Tray(3, 3, 1, (Gpu(1, "GPU-1"), Gpu(2, "GPU-2"))),),
)
STEPS_OF = {
    "trainer": (Step.PRETRAIN, Step.FINETUNE, Step.EVALUATE),
    "converter": (Step.CONVERT,),
    "quantiser": (Step.QUANTISE,),
    "bundler": (Step.BUNDLE,),
}
BUILDER_OF = {step: name for name, steps in STEPS_OF.items() for step in steps}
PARAMETERS_OF: dict[Step, Parameters] = {
    Step.PRETRAIN: TrainingParameters(format="megatron", iteration=1000),
    Step.FINETUNE: TrainingParameters(),
    Step.CONVERT: ConvertParameters(opset=21),
    Step.QUANTISE: QuantiseParameters(scheme="nvfp4", group_size=16),
    Step.BUNDLE: BundleParameters(name="drive", version="1.0.0", counter=1, hardware=("thor-t5000",)),
}


def source(digest: Digest) -> Parent:
    """The model that a step starts from."""
    return Parent(ParentRole.SOURCE_MODEL, digest, "source")


def made_by(step: Step, subject: Digest, *parents: Parent) -> Claim:
    """A claim of `step` with plausible parameters."""
    return Claim(
        step=step,
        subject_digest=subject,
        subject_name=f"{step} output",
        parents=parents,
        parameters=PARAMETERS_OF[step],
        started_utc=STARTED,
        finished_utc=FINISHED,
        invocation=f"run-{step}",
    )


def lineage() -> list[Claim]:
    """Checkpoint → graphs → quantised graphs → release, parents first."""
    trained = made_by(Step.PRETRAIN, CHECKPOINT, Parent(ParentRole.DATASET, DATASET, "drives"))
    trained = replace(
        trained,
        internal=Facts(run=Run(name="drive-7b", scheduler="slurm", cluster="oslo", job_id="42"), rack=RACK),
        code=CodeRef("https://git.example/trainer", "a" * 40),
    )
    calibration = Parent(ParentRole.CALIBRATION, CALIBRATION, "calibration")
    return [
        trained,
        made_by(Step.CONVERT, GRAPHS, source(CHECKPOINT)),
        made_by(Step.QUANTISE, QUANTISED, source(GRAPHS), calibration),
        made_by(Step.BUNDLE, LEAF, source(QUANTISED)),
    ]


def _keys() -> dict[str, EllipticCurvePrivateKey]:
    return {name: generate_private_key(SECP256R1()) for name in STEPS_OF}


@dataclass(frozen=True)
class Workshop:
    """One key a builder, each allowed its own steps."""

    keys: dict[str, EllipticCurvePrivateKey] = field(default_factory=_keys)

    @property
    def policy(self) -> TrustPolicy:
        """What says which key may sign what."""
        return TrustPolicy(
            publishers=(),
            builders=tuple(
                Builder(
                    name=name,
                    keyid=keyid_of(key.public_key()),
                    public_pem=pem_of(key.public_key()),
                    steps=tuple(step.value for step in STEPS_OF[name]),
                )
                for name, key in self.keys.items()
            ),
        )

    def sign(self, claim: Claim) -> bytes:
        """The claim, signed by the builder whose step it is."""
        name = BUILDER_OF[claim.step]
        return sign_claim(claim, self.keys[name], name)

    def file(self, claims: list[Claim]) -> bytes:
        """A claims file."""
        return b"".join(self.sign(claim) for claim in claims)
