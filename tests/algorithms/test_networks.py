"""Grouped layers against torch's own, one agent at a time; actors; running moments."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edge_marl.algorithms.actors import load_actor, save_actor
from edge_marl.algorithms.networks import has_choice
from edge_marl.algorithms.networks.agents import Actor, AgentRows
from edge_marl.algorithms.networks.config import NetworkConfig
from edge_marl.algorithms.networks.grouped import GroupedGRUCell, GroupedLinear
from edge_marl.algorithms.networks.normalisation import RunningMoments
from edge_marl.algorithms.networks.spec import ActorSpec, agent_groups
from edge_marl.errors import InputError

AGENTS = ("a", "b", "c")
NETWORKS = {
    "mlp": {"kind": "mlp", "hidden_sizes": (8, 8)},
    "gru": {"kind": "mlp", "hidden_sizes": (8,), "gru": 6},
    "queue_mlp": {"kind": "queue_mlp", "hidden_sizes": (8,)},
    "attention": {"kind": "attention", "hidden_sizes": (8, 8)},
    "dueling": {"kind": "mlp", "hidden_sizes": (8, 8), "dueling": True},
    "structured_mlp": {"kind": "structured_mlp", "hidden_sizes": (8, 8)},
    "pointer": {"kind": "pointer", "hidden_sizes": (8, 8)},
}
SHARINGS = {
    "shared": "shared",
    "independent": "independent",
    "groups": {"a": "x", "b": "y", "c": "x"},
}


def make_actor(network: str, sharing: str, *, normalise: bool = False) -> Actor:
    torch.manual_seed(1)
    groups = agent_groups(SHARINGS[sharing], AGENTS)
    return Actor(
        ActorSpec(
            agents=AGENTS,
            # Four jobs of five features, or a task and four servers of four.
            observation_shape=(5, 4) if network in ("structured_mlp", "pointer") else (4, 5),
            n_actions=5,
            groups=groups,
            network=NetworkConfig(**NETWORKS[network]),
            normalise=normalise,
            n_ids=3 if sharing != "independent" else 0,
        )
    )


def observations(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of queues of different lengths, and the masks that go with them."""
    generator = torch.Generator().manual_seed(2)
    length = torch.randint(0, 5, (rows, 3, 1), generator=generator)
    queued = torch.arange(4) < length
    features = torch.rand(rows, 3, 4, 5, generator=generator) * 50 * queued[..., None]
    return features.flatten(2), torch.cat([queued, length == 0], dim=-1)


@pytest.mark.parametrize("groups", [None, [0, 1, 2], [1, 0, 1]])
def test_grouped_linear_is_a_linear_layer_per_agent(groups: list[int] | None) -> None:
    layer = GroupedLinear(3, 4, 2)
    x = torch.randn(7, 3, 5, 4)
    y = layer(x, None if groups is None else torch.tensor(groups))
    for n, g in enumerate(groups or range(3)):
        expected = F.linear(x[:, n], layer.weight[g], layer.bias[g])
        torch.testing.assert_close(y[:, n], expected)


def test_grouped_gru_is_the_gru_of_torch() -> None:
    cell, own = GroupedGRUCell(1, 4, 3), torch.nn.GRUCell(4, 3)
    own.load_state_dict(
        {
            "weight_ih": cell.from_input.weight[0],
            "weight_hh": cell.from_hidden.weight[0],
            "bias_ih": cell.from_input.bias[0],
            "bias_hh": cell.from_hidden.bias[0],
        }
    )
    x, hidden = torch.randn(6, 1, 4), torch.randn(6, 1, 3)
    torch.testing.assert_close(cell(x, hidden, None)[:, 0], own(x[:, 0], hidden[:, 0]))


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("network", NETWORKS)
def test_one_agents_own_copy_gives_its_outputs(network: str, sharing: str) -> None:
    actor = make_actor(network, sharing, normalise=network in ("mlp", "gru"))
    features, mask = observations(9)
    if actor.normaliser is not None:
        actor.normaliser.update(features, sets=actor.groups)
    hidden = torch.randn(9, 3, actor.hidden_size) if actor.is_recurrent else None
    outputs, after = actor(features, mask, hidden)
    for n in range(3):
        own = actor.single(n)
        part = slice(n, n + 1)
        its, its_after = own(
            features[:, part], mask[:, part], None if hidden is None else hidden[:, part]
        )
        torch.testing.assert_close(its, outputs[:, part])
        if after is not None:
            torch.testing.assert_close(its_after, after[:, part])
        assert sum(p.numel() for p in own.parameters()) <= sum(
            p.numel() for p in actor.parameters()
        )


@pytest.mark.parametrize("network", NETWORKS)
def test_no_agent_learns_from_what_others_see(network: str) -> None:
    actor = make_actor(network, "shared")
    features, mask = observations(5)
    features.requires_grad_()
    hidden = actor.initial_hidden(5) if actor.is_recurrent else None
    outputs, _ = actor(features, mask, hidden)
    outputs[:, 1].sum().backward()
    assert features.grad is not None
    assert features.grad[:, 1].abs().sum() > 0
    assert features.grad[:, [0, 2]].abs().sum() == 0


@pytest.mark.parametrize("network", ["queue_mlp", "attention"])
def test_queue_networks_follow_the_jobs_wherever_they_stand(network: str) -> None:
    actor = make_actor(network, "independent")
    jobs = torch.rand(1, 3, 4, 5) * 50
    mask = torch.tensor([True] * 4 + [False]).expand(1, 3, 5)
    order = torch.tensor([2, 0, 3, 1])
    outputs, _ = actor(jobs.flatten(2), mask)
    moved, _ = actor(jobs[:, :, order].flatten(2), mask)
    torch.testing.assert_close(moved[..., :-1], outputs[..., order])
    torch.testing.assert_close(moved[..., -1], outputs[..., -1])


def test_unrolling_is_stepping_with_memory_cleared_at_first_observations() -> None:
    actor = make_actor("gru", "independent")
    features = torch.randn(2, 6, 3, 20)
    mask = torch.ones(2, 6, 3, 5, dtype=torch.bool)
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[0, 3] = first[1, 0] = True
    hidden = torch.randn(2, 3, 6)
    unrolled = actor.unroll(features, mask, first, hidden)
    state = hidden
    for t in range(6):
        state = torch.where(first[:, t, None, None], 0.0, state)
        outputs, state = actor(features[:, t], mask[:, t], state)
        torch.testing.assert_close(unrolled[:, t], outputs)


@pytest.mark.parametrize("network", NETWORKS)
def test_saved_actors_come_back_equal(network: str, tmp_path: Path) -> None:
    actor = make_actor(network, "groups", normalise=network == "mlp")
    save_actor(actor, tmp_path, {"note": "kept"})
    again = load_actor(tmp_path)
    assert again.spec == actor.spec
    for name, value in actor.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("cut", "not the weights of this network"),
        ("gone", "cannot be read"),
        ("other", "'.*': expected"),
    ],
)
def test_damaged_actors_are_refused(damage: str, expected: str, tmp_path: Path) -> None:
    save_actor(make_actor("mlp", "shared"), tmp_path)
    weights = tmp_path / "actor.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "gone":
        weights.unlink()
    else:
        save_actor(make_actor("gru", "shared"), tmp_path / "other")
        weights.write_bytes((tmp_path / "other" / "actor.safetensors").read_bytes())
    with pytest.raises(InputError, match=rf"actor\.safetensors: {expected}"):
        load_actor(tmp_path)


@pytest.mark.parametrize(
    ("sharing", "groups"),
    [("shared", (0, 0, 0)), ("independent", (0, 1, 2)), ("groups", (0, 1, 0))],
)
def test_parameter_sharing(sharing: str, groups: tuple[int, ...]) -> None:
    assert agent_groups(SHARINGS[sharing], AGENTS) == groups


def test_a_group_for_every_agent_or_none() -> None:
    with pytest.raises(InputError, match="parameter_sharing: expected"):
        agent_groups({"a": "x", "b": "x"}, AGENTS)


def test_dueling_outputs_are_a_value_and_advantages_of_mean_zero_over_legal_actions() -> None:
    actor = make_actor("dueling", "shared")
    features, mask = observations(6)
    outputs, _ = actor(features, mask)
    legal_mean = (outputs * mask).sum(-1) / mask.sum(-1)
    seen = actor.with_representation(features, mask)[1]
    assert actor.value is not None
    torch.testing.assert_close(legal_mean, actor.value(seen, None).squeeze(-1))
    advantages = actor.head(seen, None)
    torch.testing.assert_close(
        outputs - outputs[..., :1], advantages - advantages[..., :1], rtol=1e-4, atol=1e-6
    )


def test_structured_layers_keep_task_and_servers_apart_in_the_first_step() -> None:
    actor = make_actor("structured_mlp", "shared")
    features, _ = observations(6)
    body = actor.body
    rows = torch.cat([features, actor.ids.expand(6, 3, 3)], dim=-1)
    task, servers = torch.cat([rows[..., :4], rows[..., 20:]], -1), rows[..., 4:20]
    expected = body.joint(torch.cat([body.of_task(task, None), body.of_servers(servers, None)], -1),
                          None)  # fmt: skip
    torch.testing.assert_close(body(rows, None), expected)


def test_moments_are_those_of_everything_seen() -> None:
    rng = np.random.default_rng(0)
    moments = RunningMoments((2,))
    parts = [rng.normal(5, 3, (n, 2)).astype(np.float32) for n in (1, 7, 100)]
    for part in parts:
        moments.update(torch.from_numpy(part))
    seen = np.concatenate(parts)
    np.testing.assert_allclose(moments.mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.var, seen.var(0), rtol=1e-4)
    x = torch.randn(4, 2)
    torch.testing.assert_close(moments.denormalise(moments.normalise(x)), x, rtol=1e-4, atol=1e-4)


def test_absent_samples_do_not_count() -> None:
    moments = RunningMoments((2,))
    x = torch.tensor([[1.0, 10.0], [3.0, 20.0], [99.0, 99.0]])
    moments.update(x, torch.tensor([True, True, False]))
    assert moments.mean.tolist() == [2.0, 15.0]
    assert moments.count.tolist() == [2, 2]


def test_samples_of_agents_belong_to_the_moments_of_their_set() -> None:
    moments = RunningMoments((2, 1))
    x = torch.tensor([[[1.0], [10.0], [2.0]], [[3.0], [99.0], [4.0]]])
    present = torch.tensor([[True, True, True], [True, False, True]])
    moments.update(x, present, sets=torch.tensor([0, 1, 1]))
    assert moments.mean.flatten().tolist() == pytest.approx([2.0, 16 / 3])
    assert moments.count.flatten().tolist() == [2, 3]
    assert moments.var[0].item() == 1.0


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "gru"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_rows_in_which_nobody_has_a_choice_have_no_outputs_and_teach_nothing(
    network: str, sharing: str
) -> None:
    actor = make_actor(network, sharing)
    features, mask = observations(1)
    nobody = AgentRows(features[0][:0], mask[0][:0], torch.zeros(0, dtype=torch.int64))
    outputs = actor.of_rows(nobody)
    assert outputs.shape == (0, 5)
    outputs.sum().backward()
    for weights in actor.parameters():
        assert weights.grad is None or not weights.grad.any()
    # Many rows of agents that wait, as at the start of all episodes.
    waiting = torch.zeros(500, 3, 5, dtype=torch.bool)
    waiting[..., -1] = True
    found = actor.where_chosen(features.expand(500, -1, -1), waiting, has_choice(waiting))
    assert found.shape == (500, 3, 5)


@pytest.mark.parametrize("n_idle", [1, 6])
@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "gru"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_agents_without_a_choice_change_neither_policy_nor_gradient(
    network: str, sharing: str, n_idle: int
) -> None:
    actor = make_actor(network, sharing)
    features, mask = observations(3)
    mask[:] = True
    mask.view(9, 5)[:n_idle, 1:] = False
    found = []
    chosen = actor.where_chosen(features, mask, has_choice(mask))
    for outputs in (actor(features, mask)[0], chosen):
        actor.zero_grad()
        logits = outputs.masked_fill(~mask, -1e9)
        probabilities = torch.softmax(logits, -1)
        (probabilities * torch.arange(5.0)).sum().backward()
        found.append([probabilities, *(p.grad.clone() for p in actor.parameters())])
    for expected, same in zip(*found, strict=True):
        torch.testing.assert_close(same, expected, rtol=1e-4, atol=1e-5)
