"""The pointer network against the equations of the paper, and what follows from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_marl.algorithms.networks import MASKED
from edge_marl.algorithms.networks.agents import Actor
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.pointer import HEADS, PointerNetwork
from edge_marl.algorithms.networks.spec import ActorSpec
from edge_marl.errors import InputError

D, N_FEATURES = 8, 5


def network(blocks: int = 2, seed: int = 0) -> PointerNetwork:
    torch.manual_seed(seed)
    net = PointerNetwork(1, N_FEATURES, (D,) * blocks)
    with torch.no_grad():  # normalisation begins as the identity, which would hide mistakes
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def cluster(n: int, rows: int = 3, seed: int = 1) -> Tensor:
    """``[rows, 1, 1 + n, F]``; every server exists."""
    return torch.rand(rows, 1, 1 + n, N_FEATURES, generator=torch.Generator().manual_seed(seed))


def decide(net: PointerNetwork, rows: Tensor, legal: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scores and feature of one agent; every server is legal when None."""
    if legal is None:
        legal = torch.ones(*rows.shape[:2], rows.shape[2] - 1, dtype=torch.bool)
    found: tuple[Tensor, Tensor] = net(rows, legal, torch.zeros(1, 1, 0), None)
    return found


def actor(n: int = 4, *, blocks: int = 2, agents: int = 1, **network: object) -> Actor:
    torch.manual_seed(3)
    kind = {"kind": "pointer", "hidden_sizes": (D,) * blocks, **network}
    return Actor(
        ActorSpec(
            agents=tuple(f"agent {k}" for k in range(agents)),
            observation_shape=(1 + n, N_FEATURES),
            n_actions=n + 1,
            groups=tuple(range(agents)),
            network=NetworkConfig.model_validate(kind),
        )
    )


def naive(net: PointerNetwork, task: Tensor, servers: Tensor) -> tuple[Tensor, Tensor]:
    """Section 4.2 for one decision, head by head and server by server.

    Args:
        net: the network.
        task: ``[F]``.
        servers: ``[n, F]``, those that exist.

    Returns:
        ``[n + 1]`` scores and ``[d]`` the feature.
    """

    def embedded(layers: list[Tensor], x: Tensor) -> Tensor:
        first, first_bias, second, second_bias = (weight[0] for weight in layers)
        return second @ torch.relu(first @ x + first_bias) + second_bias

    q = embedded(list(net.embed_task.parameters()), task)
    z = [embedded(list(net.embed_server.parameters()), server) for server in servers]
    d_head = D // HEADS
    for block in net.blocks:
        w_q, w_k, w_v, w_o = (
            layer.weight[0] for layer in (block.query, block.key, block.value, block.project)
        )
        heads = []
        for h in range(HEADS):
            part = slice(h * d_head, (h + 1) * d_head)
            scores = torch.stack([(w_q[part] @ q) @ (w_k[part] @ z_j) for z_j in z])
            alpha = torch.softmax(scores / math.sqrt(d_head), dim=0)
            heads.append(sum(a * (w_v[part] @ z_j) for a, z_j in zip(alpha, z, strict=True)))
        norm = block.attention_norm
        q = F.layer_norm(q + w_o @ torch.cat(heads), (D,), norm.weight[0], norm.bias[0])
        hidden = F.gelu(block.widen.weight[0] @ q + block.widen.bias[0])
        thought = block.narrow.weight[0] @ hidden + block.narrow.bias[0]
        q = F.layer_norm(q + thought, (D,), block.norm.weight[0], block.norm.bias[0])
    query = net.query.weight[0] @ q
    scores = [query @ (net.key.weight[0] @ z_j) for z_j in z]
    # Waiting, against placing on any: the project's own.
    placing = torch.stack(scores).exp().sum().log()
    log_odds = query @ net.wait_key[0] + net.wait_bias[0, 0]
    return torch.stack([*scores, placing + log_odds]), q


def test_it_is_the_network_of_the_paper() -> None:
    net, rows = network(), cluster(6)
    scores, features = decide(net, rows)
    assert scores.shape == (3, 1, 7)
    for r in range(3):
        expected, feature = naive(net, rows[r, 0, 0], rows[r, 0, 1:])
        torch.testing.assert_close(scores[r, 0], expected)
        torch.testing.assert_close(features[r, 0], feature)


def test_its_attention_is_torchs() -> None:
    block = network().blocks[0]
    attention = torch.nn.MultiheadAttention(D, HEADS, bias=False, batch_first=True)
    own = (block.query, block.key, block.value)
    attention.in_proj_weight.data = torch.cat([layer.weight[0] for layer in own])
    attention.out_proj.weight.data = block.project.weight[0]
    task, servers = torch.randn(3, 1, D), torch.randn(3, 1, 6, D)
    exists = torch.tensor([[[True] * 6], [[True] * 3 + [False] * 3], [[False] * 5 + [True]]])
    expected, _ = attention(task, servers[:, 0], servers[:, 0], key_padding_mask=~exists[:, 0])
    torch.testing.assert_close(
        block.attend(task, servers, torch.where(exists, 0.0, MASKED), None), expected
    )


def test_permuting_servers_permutes_scores_and_leaves_the_feature() -> None:
    net, rows, order = network(), cluster(6), torch.tensor([3, 0, 5, 1, 4, 2])
    moved = torch.cat([rows[:, :, :1], rows[:, :, 1:][:, :, order]], dim=2)
    scores, features = decide(net, rows)
    moved_scores, moved_features = decide(net, moved)
    torch.testing.assert_close(moved_features, features)
    torch.testing.assert_close(moved_scores[..., :-1], scores[..., order])
    torch.testing.assert_close(moved_scores[..., -1], scores[..., -1])


def test_servers_that_do_not_exist_change_nothing() -> None:
    net, rows = network(), cluster(4)
    scores, features = decide(net, rows)
    absent = torch.zeros(3, 1, 5, N_FEATURES)
    absent[:, :, 0, 1:] = 7.0  # whatever it has, a server of no capacity is none
    padded = torch.cat([rows[:, :, :3], absent, rows[:, :, 3:]], dim=2)
    padded_legal = padded[..., 1:, 0] != 0
    padded_scores, padded_features = decide(net, padded, padded_legal)
    torch.testing.assert_close(padded_features, features)
    torch.testing.assert_close(padded_scores[..., [0, 1, 7, 8, 9]], scores)


def test_the_odds_of_waiting_do_not_depend_on_which_servers_are_legal() -> None:
    net, rows = network(), cluster(4)
    scores, _ = decide(net, rows)
    waits = torch.softmax(scores, -1)[..., -1]
    legal = torch.tensor([False, True, True, False]).expand(3, 1, 4)
    among, _ = decide(net, rows, legal)
    torch.testing.assert_close(torch.softmax(among[..., 1:][..., [0, 1, 3]], -1)[..., -1], waits)
    alone, _ = decide(net, rows, torch.zeros_like(legal))
    torch.testing.assert_close(torch.sigmoid(alone[..., -1]), waits)
    torch.testing.assert_close(alone[..., :-1], scores[..., :-1])


def test_to_place_is_decided_before_where() -> None:
    mask = torch.tensor([[[True, True, True, False, True]]])
    scores = torch.tensor([[[0.0, 0.1, 0.0, 9.0, 1.0]]])  # three servers: together more likely
    assert actor(4).greedy(scores, mask).item() == 1
    assert actor(4).greedy(scores + torch.tensor([0, 0, 0, 0, 0.3]), mask).item() == 4
    assert actor(4, kind="mlp").greedy(scores, mask).item() == 4


def test_whether_to_wait_is_drawn_and_where_to_place_is_not() -> None:
    scores = torch.tensor([0.0, 0.1, 0.0, 9.0, 1.0]).expand(1000, 1, 5)
    mask = torch.tensor([True, True, True, False, True]).expand(1000, 1, 5)
    random = ((torch.arange(1000) + 0.5) / 1000)[:, None]
    actions = actor(4).greedy(scores, mask, random)
    waits = math.e / (math.e + 2 + math.exp(0.1))
    assert (actions == 4).float().mean().item() == pytest.approx(waits, abs=1e-3)
    assert set(actions.flatten().tolist()) == {1, 4}
    may_not = mask & torch.tensor([True, True, True, True, False])
    assert (actor(4).greedy(scores, may_not, torch.zeros(1000, 1)) == 1).all()
    has_to = mask & torch.tensor([False, False, False, False, True])
    assert (actor(4).greedy(scores, has_to, random) == 4).all()


def test_without_any_server_there_are_numbers_and_gradients() -> None:
    net = network()
    rows = torch.zeros(2, 1, 4, N_FEATURES)
    rows[:, :, 0] = 0.5
    scores, features = decide(net, rows)
    (scores.sum() + features.sum()).backward()
    assert torch.isfinite(scores).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())
    more = torch.cat([rows, torch.zeros(2, 1, 9, N_FEATURES)], dim=2)
    torch.testing.assert_close(decide(net, more)[1], features)


def test_agents_of_their_own_parameters_are_networks_of_their_own() -> None:
    both, rows = actor(agents=2), torch.rand(5, 2, 5 * N_FEATURES)
    mask = torch.ones(5, 2, 5, dtype=torch.bool)
    outputs, features = both.with_representation(rows, mask)
    for k in range(2):
        part = slice(k, k + 1)
        alone, seen = both.single(k).with_representation(rows[:, part], mask[:, part])
        torch.testing.assert_close(alone, outputs[:, part])
        torch.testing.assert_close(seen, features[:, part])


def test_an_actor_runs_at_another_size() -> None:
    small = actor(4)
    large = small.resized(9)
    assert (large.spec.observation_shape, large.spec.n_actions) == ((10, N_FEATURES), 10)
    rows = cluster(4, rows=6).flatten(2)
    padded = torch.cat([rows, torch.zeros(6, 1, 5 * N_FEATURES)], dim=2)
    mask = torch.ones(6, 1, 5, dtype=torch.bool)
    padded_mask = torch.cat([mask[..., :4], ~mask, mask[..., 4:]], dim=-1)
    expected, found = small(rows, mask)[0], large(padded, padded_mask)[0]
    torch.testing.assert_close(found[..., [0, 1, 2, 3, 9]], expected)
    assert small.resized(4) is small


@pytest.mark.parametrize("kind", ["mlp", "structured_mlp"])
def test_networks_of_one_size_say_so(kind: str) -> None:
    with pytest.raises(InputError, match=f"^network.kind: expected pointer .* found {kind}$"):
        actor(kind=kind).resized(5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observation_shape": (20,)}, r"found \[20\] and 5"),
        ({"n_actions": 4}, r"found \[5, 5\] and 4"),
        ({"network": {"hidden_sizes": (8, 4)}}, r"a multiple of 4, for pointer, found \[8, 4\]"),
        ({"network": {"hidden_sizes": (6,)}}, r"a multiple of 4, for pointer, found \[6\]"),
        ({"network": {"gru": 3}}, "network.gru: expected none with kind pointer, found 3"),
        ({"network": {"dueling": True}}, "network.dueling: expected none with kind pointer"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    spec = actor().spec.model_dump()
    network = {**spec["network"], **changes.pop("network", {})}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=message):
        ActorSpec.model_validate({**spec, **changes, "network": network})
