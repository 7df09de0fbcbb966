"""Any loss of metric learning by its name: `loss(z, labels, proxies)`.

One `margin`, one softness `tau` and one `mining` for all of them, so that they can be compared:

    contrastive, lifted structure     margin in units of distance
    triplet                           margin in units of squared distance; `mining`
    SphereFace, ArcFace, CosFace      m1 = 1 + margin, m2 = margin in radians, m3 = margin
    lifted structure                  tau in units of distance
    N-pair, supervised contrastive,   tau in units of cosines, once vectors are unit
      normalised softmax and *Face
    Proxy-NCA                         tau in units of squared distance

What a loss has no use for does nothing.
"""

from jaxtyping import Array, Float

from labkit.errors import refusal
from labkit.method import choice, knob, pytree
from labkit.relaxations import pair_losses, proxy_losses
from labkit.relaxations.pair_losses import Anchors, Embeddings, Labels, Proxies


PROXIED = (
    "Proxy-NCA", "normalised softmax", "SphereFace", "ArcFace", "CosFace", "cross entropy"
)  # fmt: skip


@pytree
class EmbeddingLoss:
    """A loss of the family.  Turning `margin` or `tau` compiles nothing."""

    name: str = choice(
        "supervised contrastive", "contrastive", "triplet", "lifted structure", "N-pair", *PROXIED
    )
    mining: str = choice(*pair_losses.MINING, about="the triplets that are kept")
    margin: float = knob(0.5, 0.0, 1.0, within=(0.0, float("inf")), about="between classes")
    tau: float = knob(0.5, 0.05, 2.0, log=True, about="softness")

    def __call__(
        self,
        z: Embeddings,
        labels: Labels,
        proxies: Proxies | None = None,
        anchors: Anchors = None,
    ) -> Float[Array, ""]:
        """The loss of a batch; with `anchors` [n], of their terms alone."""
        margin, tau = self.margin, self.tau
        match self.name:
            case "contrastive":
                return pair_losses.contrastive(z, labels, margin, anchors)
            case "triplet":
                return pair_losses.triplet(z, labels, margin, self.mining, anchors)
            case "lifted structure":
                return pair_losses.lifted_structure(z, labels, margin, tau, anchors)
            case "N-pair":
                return pair_losses.n_pair(z, labels, tau, anchors)
            case "supervised contrastive":
                return pair_losses.supervised_contrastive(z, labels, tau, anchors)
        if proxies is None:
            raise refusal("proxies", proxies, f"an array [classes, d]: {self.name} needs them")
        match self.name:
            case "Proxy-NCA":
                return proxy_losses.proxy_nca(z, labels, proxies, tau, anchors)
            case "cross entropy":
                return proxy_losses.cross_entropy(z, labels, proxies, anchors)
        m1 = 1.0 + margin if self.name == "SphereFace" else 1.0
        m2 = margin if self.name == "ArcFace" else 0.0
        m3 = margin if self.name == "CosFace" else 0.0
        return proxy_losses.normalised_softmax(z, labels, proxies, tau, m1, m2, m3, anchors)
