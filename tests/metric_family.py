"""The family of losses entry by entry, in NumPy, and as one compiled program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from labkit.method import replace
from labkit.relaxations.embedding_loss import EmbeddingLoss


MEMBERS = (
    "contrastive", "triplet, all", "triplet, semi-hard", "triplet, batch-hard",
    "lifted structure", "N-pair", "supervised contrastive", "Proxy-NCA", "normalised softmax",
    "SphereFace", "ArcFace", "CosFace", "cross entropy",
)  # fmt: skip
BETWEEN = MEMBERS[:7]  # the points themselves


@functools.cache
def compiled(members=MEMBERS):
    """(values, gradients in z) of members at (z, labels, proxies, margin, tau, anchors)."""

    def values(z, labels, proxies, margin, tau, anchors):
        def one(member):
            name, _, mining = member.partition(", ")
            fields = {"name": name, "mining": mining or "all", "margin": margin, "tau": tau}
            return replace(EmbeddingLoss(), fields)(z, labels, proxies, anchors)

        return jnp.stack([one(member) for member in members])

    return jax.jit(lambda *a: (values(*a), jax.jacrev(values)(*a)))


def family(z, labels, proxies, margin=0.5, tau=0.5, anchors=None):
    """{member: (value, gradient)}."""
    anchors = np.ones(len(labels), bool) if anchors is None else anchors
    parts = map(np.asarray, compiled()(z, labels, proxies, margin, tau, anchors))
    return dict(zip(MEMBERS, zip(*parts, strict=True), strict=True))


def batch(seed, n=8, d=3, classes=3):
    """Points, their labels (two or more of each class) and proxies."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    return rng.normal(size=(n, d)), labels, rng.normal(size=(classes, d))


def naive(member, z, labels, proxies, margin=0.5, tau=0.5, anchors=None):
    """One loss as its formula reads, in loops over anchors, positives and negatives."""
    n = len(z)
    asked = [a for a in range(n) if anchors is None or anchors[a]]
    distance = lambda i, j: np.sqrt(sum((z[i] - z[j]) ** 2))
    cosine = lambda u, v: u @ v / np.sqrt(u @ u) / np.sqrt(v @ v)
    positives = lambda a: [p for p in range(n) if p != a and labels[p] == labels[a]]
    negatives = lambda a: [k for k in range(n) if labels[k] != labels[a]]
    hinge = lambda x: max(x, 0.0)
    costs = []
    name, _, mining = member.partition(", ")
    for a in asked:
        same, other = positives(a), negatives(a)
        if name == "contrastive":
            costs += [distance(a, p) ** 2 for p in same]
            costs += [hinge(margin - distance(a, k)) ** 2 for k in other]
        elif name == "triplet":
            kept = [(distance(a, p) ** 2, distance(a, k) ** 2) for p in same for k in other]
            if mining == "semi-hard":
                kept = [(near, far) for near, far in kept if near < far < near + margin]
            if mining == "batch-hard" and kept:
                kept = [(max(near for near, _ in kept), min(far for _, far in kept))]
            costs += [hinge(near - far + margin) for near, far in kept]
        elif name == "lifted structure":
            for p in same:
                terms = [np.exp((margin - distance(a, k)) / tau) for k in negatives(a)]
                terms += [np.exp((margin - distance(p, k)) / tau) for k in negatives(p)]
                costs.append(hinge(distance(a, p) + tau * np.log(sum(terms))) ** 2 / 2)
        elif name == "N-pair":
            for p in same:
                terms = [np.exp((z[a] @ z[k] - z[a] @ z[p]) / tau) for k in other]
                costs.append(np.log(1 + sum(terms)))
        elif name == "supervised contrastive":
            total = sum(np.exp(cosine(z[a], z[j]) / tau) for j in range(n) if j != a)
            if same:
                own = [-np.log(np.exp(cosine(z[a], z[p]) / tau) / total) for p in same]
                costs.append(np.mean(own))
        elif name == "Proxy-NCA":
            squares = [2 - 2 * cosine(z[a], w) for w in proxies]
            wrong = [np.exp(-s / tau) for k, s in enumerate(squares) if k != labels[a]]
            costs.append(squares[labels[a]] / tau + np.log(sum(wrong)))
        else:
            logits = np.array([cosine(z[a], w) for w in proxies]) / tau
            if name == "cross entropy":
                logits = proxies @ z[a]
            theta = np.arccos(cosine(z[a], proxies[labels[a]]))
            widened = {"SphereFace": (1 + margin) * theta, "ArcFace": theta + margin}
            angle = widened.get(name, theta)
            turns = angle // np.pi  # 1 less the whole fall, 2 for each turn of pi
            falling = np.cos(angle - turns * np.pi) - 2 * turns
            if name != "cross entropy":
                logits[labels[a]] = (falling - margin * (name == "CosFace")) / tau
            costs.append(-np.log(np.exp(logits[labels[a]]) / sum(np.exp(logits))))
    return np.mean(costs) if costs else 0.0
