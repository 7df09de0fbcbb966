"""One small, fast case of each method: the list that the contract tests walk."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import rewriter
from tiny_cells import small

from labkit import Adam, Descent, Momentum, RmsProp, Sgd, chain, descent, replace, sweep
from labkit.dynamics import (
    adaptive_edge,
    beside_descent,
    central_flow,
    drawn_schedule,
    edge_model,
    edge_of_stability,
    gradient_flow,
    margins,
    opposing_signals,
    optimal_schedule,
    optimizer_bias,
    phase_diagram,
    schedule_bound,
    schedule_refinement,
    schedule_tuning,
    spike_microscope,
    two_tasks,
)
from labkit.dynamics.nonsmooth import max_residual
from labkit.dynamics.schedules import Drawn, Given, Schedule
from labkit.landscapes import (
    bandlimited_random_net,
    basin_plane,
    convex_relu_training,
    deep_linear,
    deep_tanh,
    double_descent_optim,
    eigenvector_move,
    error_surface,
    feature_training,
    generalization_dynamics,
    gradient_noise,
    grokking_energy,
    hessian_spectrum,
    induced_metric_descent,
    lanczos_spectrum,
    linear_modes,
    linear_network,
    linear_students,
    lojasiewicz_trajectory,
    loss_sensitivity,
    loss_slice,
    mode_connectivity,
    nonsmooth_descent,
    ntk_gan,
    permutations,
    potentials,
    ranked_inputs,
    sampling_box,
    sgd_generalization_gap,
    sinkhorn_rebasin,
    spectral_density,
    surface_descent,
    trace_estimate,
    training_plane,
    trajectory_bound,
    unit_energy,
    weight_matching,
)
from labkit.landscapes.cluster_network import ClusterNetwork
from labkit.landscapes.group_arithmetic import GroupArithmetic
from labkit.landscapes.induced_metric import InducedMetric
from labkit.landscapes.point_clouds import ring
from labkit.landscapes.random_features import teacher
from labkit.landscapes.tangent_kernels import Kernel
from labkit.landscapes.two_layer_relu import TwoLayerRelu
from labkit.problems import EdgeToy, LeastSquares, Quadratic, digits_network, sine_network
from labkit.relaxations import (
    amortized_programs,
    candidates,
    centerline_dice,
    comparison,
    confusion_loss,
    darts,
    differentiable_ransac,
    envelope_path,
    error_free_sort,
    feature_gradients,
    feature_moments,
    feature_tables,
    filtered_graphs,
    gate_microscope,
    gathered_points,
    gradual_pruning_search,
    graph_relaxation,
    group_sparse_envelope,
    gumbel_softmax,
    hand_orientation,
    inverse_program,
    isotonic_sort,
    lattice,
    learned_rounding,
    linear_surrogate,
    low_temperature_search,
    metric_losses,
    multiparameter_persistence,
    neural_ndcg,
    neural_sort,
    notears,
    optimality_margin,
    orders,
    pairwise_landscape,
    partition_entropy,
    perceived_programs,
    perturbation_selection,
    perturbed_argmax,
    polygon_programs,
    probabilistic_method,
    proxy_search,
    quantile_actor_search,
    relaxed_programs,
    robust_darts,
    score_function,
    search_controls,
    set_problems,
    sinkhorn_sort,
    small_graphs,
    smooth_orientation,
    soft_skeleton,
    soft_sort,
    soft_top_k,
    softmax,
    sorting_network,
    sparse_map,
    sparse_transport,
    sparsemax,
    straight_through,
    surrogate_prior,
    topological_swaps,
    trainable_gate,
    transport_pooling,
    transport_problems,
    transportable_structure,
    two_view_sampling,
    two_views,
)
from labkit.relaxations.cell_search import CellSearch, race
from labkit.relaxations.hidden_units import digit_units
from labkit.relaxations.roundings import neuron
from labkit.relaxations.structural_equations import random_equations
from labkit.rules import ClipNorm
from labkit.views import View


class Case(NamedTuple):
    """A method, small enough to compile and run in a second or two."""

    method: Any
    views: Sequence[View]
    part: str = ""


SINE = sine_network(samples=8, width=4, depth=1)
TINY = digits_network(samples=20, width=4, depth=1)
QUADRATIC = Quadratic(jnp.array([4.0, 3.0, 2.0, 1.0, 0.5, 0.1]))
RESIDUAL = max_residual(8, 3)
LINE = LeastSquares(jnp.arange(6.0)[:, None] / 6, jnp.array([0.0, 0.3, 0.1, 0.6, 0.5, 1.0]))
STARTS = tuple(TINY.start(jax.random.key(k)) for k in (0, 1))
MATCHED = permutations.mlp_axes(STARTS[0])
CLUSTERS = ClusterNetwork(clusters=2, width=2, samples=2, features=2)
FOUR_NODES = random_equations(0, nodes=4, edges=1.0, samples=20)
PLAIN: dict[str, Any] = {"weights": Sgd(0.1), "architecture": Sgd(0.1)}

ALL = {
    "descent": Case(Descent(QUADRATIC, chain(ClipNorm(5.0), Momentum(0.1))), descent.views),
    "host": Case(rewriter.Addition(), rewriter.views),
    "edge_of_stability": Case(
        edge_of_stability.EdgeOfStability(SINE, Sgd(0.1)), edge_of_stability.views, "dynamics"
    ),
    "gradient_flow": Case(
        gradient_flow.GradientFlow(SINE, Sgd(0.1)), gradient_flow.views, "dynamics"
    ),
    "central_flow": Case(
        central_flow.CentralFlow(SINE, Sgd(0.2), directions=2, substeps=2),
        central_flow.views,
        "dynamics",
    ),
    "beside_descent": Case(
        beside_descent.BesideDescent(SINE, RmsProp(0.01, 0.9), directions=2, substeps=2, warm=1),
        beside_descent.views,
        "dynamics",
    ),
    "edge_model": Case(edge_model.EdgeModel(SINE, Sgd(0.1)), edge_model.views, "dynamics"),
    "adaptive_edge": Case(
        adaptive_edge.AdaptiveEdge(SINE, Adam(0.01, beta2=0.95)), adaptive_edge.views, "dynamics"
    ),
    "opposing_signals": Case(opposing_signals.example(), opposing_signals.views, "dynamics"),
    "spike_microscope": Case(
        spike_microscope.SpikeMicroscope(
            SINE, jnp.linspace(0.0, 1.0, 32).reshape(8, 2, 2), jnp.arange(8), Sgd(0.1), k=2
        ),
        spike_microscope.views,
        "dynamics",
    ),
    "schedule_bound": Case(
        schedule_bound.ScheduleBound(RESIDUAL, Schedule("wsd", 0.3, 20)),
        schedule_bound.views,
        "dynamics",
    ),
    "schedule_tuning": Case(
        sweep(schedule_tuning.Extension(RESIDUAL, 0.2, 5, 10), jnp.logspace(-1, 0, 9), "factor"),
        schedule_tuning.views,
        "dynamics",
    ),
    "drawn_schedule": Case(
        sweep(
            drawn_schedule.DrawnSchedule(RESIDUAL, Drawn(steps=10)), jnp.logspace(-1, 1, 9), "rate"
        ),
        drawn_schedule.views,
        "dynamics",
    ),
    "optimal_schedule": Case(
        optimal_schedule.OptimalSchedule(
            optimal_schedule.BoundOfSchedule(Schedule("constant", steps=20))
        ),
        optimal_schedule.views,
        "dynamics",
    ),
    "schedule_refinement": Case(
        schedule_refinement.ScheduleRefinement(LINE, Given(jnp.ones(20)), samples=2),
        schedule_refinement.views,
        "dynamics",
    ),
    "optimizer_bias": Case(optimizer_bias.OptimizerBias(), optimizer_bias.views, "dynamics"),
    "margins": Case(margins.Margins(), margins.views, "dynamics"),
    "two_tasks": Case(two_tasks.TwoTasks(TINY, two_tasks.Factored()), two_tasks.views, "dynamics"),
    "phase_diagram": Case(
        phase_diagram.PhaseDiagram(SINE, 0.1, 0.4, count=3, seeds=2, length=40),
        phase_diagram.views,
        "dynamics",
    ),
    "surface_descent": Case(surface_descent.SurfaceDescent(), surface_descent.views, "landscapes"),
    "surface_descent_toy": Case(
        surface_descent.SurfaceDescent(EdgeToy(), Sgd(0.2)), surface_descent.views, "landscapes"
    ),
    "lanczos_spectrum": Case(
        lanczos_spectrum.LanczosSpectrum(QUADRATIC, order=6), lanczos_spectrum.views, "landscapes"
    ),
    "loss_slice": Case(
        loss_slice.around(TINY, TINY.model.init(jax.random.key(0)), rule=Sgd(0.1), cells=9),
        loss_slice.views,
        "landscapes",
    ),
    "training_plane": Case(
        training_plane.TrainingPlane(TINY, Sgd(0.1), training=10, cells=9),
        training_plane.views,
        "landscapes",
    ),
    "linear_modes": Case(
        sweep(linear_modes.ExactModes(), jnp.linspace(0.0, 8.0, 9), "time"),
        linear_modes.views,
        "landscapes",
    ),
    "deep_linear": Case(
        deep_linear.DeepLinear(linear_network.LinearNetwork(width=4), substeps=1),
        deep_linear.views,
        "landscapes",
    ),
    "deep_tanh": Case(
        sweep(deep_tanh.TanhJacobian(layers=5, width=8), jnp.linspace(0.8, 1.4, 9), "gain"),
        deep_tanh.views,
        "landscapes",
    ),
    "induced_metric_descent": Case(
        induced_metric_descent.InducedMetricDescent(rule=InducedMetric(0.02, beta2=0.95)),
        induced_metric_descent.views,
        "landscapes",
    ),
    "lojasiewicz_trajectory": Case(
        lojasiewicz_trajectory.LojasiewiczTrajectory(
            potentials.Drawn(jnp.array([1.0, 0.2, 0.0, 0.2, 1.0]))
        ),
        lojasiewicz_trajectory.drawn_views,
        "landscapes",
    ),
    "trajectory_bound": Case(
        trajectory_bound.TrajectoryBound(samples=20), trajectory_bound.views, "landscapes"
    ),
    "loss_sensitivity": Case(
        loss_sensitivity.LossSensitivity(ranked_inputs.synthetic(12), starts=2),
        loss_sensitivity.views,
        "landscapes",
    ),
    "mode_connectivity": Case(
        mode_connectivity.ModeConnectivity(TINY, STARTS[0], STARTS[1], Adam(0.01, beta2=0.95)),
        mode_connectivity.views,
        "landscapes",
    ),
    "weight_matching": Case(
        weight_matching.WeightMatching(TINY, STARTS[0], STARTS[1], MATCHED),
        weight_matching.views,
        "landscapes",
    ),
    "sinkhorn_rebasin": Case(
        sinkhorn_rebasin.SinkhornRebasin(
            TINY, STARTS[0], STARTS[1], MATCHED, Adam(0.1, beta2=0.95)
        ),
        sinkhorn_rebasin.views,
        "landscapes",
    ),
    "basin_plane": Case(
        sweep(
            basin_plane.BasinPlane(
                TINY, STARTS[0], STARTS[1], {"h1": jnp.eye(4)}, MATCHED, iterations=5, cells=5
            ),
            jnp.logspace(0.0, -1.0, 9),
            "tau",
        ),
        basin_plane.views,
        "landscapes",
    ),
    "unit_energy": Case(
        unit_energy.UnitEnergy(GroupArithmetic("S3", width=3)), unit_energy.views, "landscapes"
    ),
    "grokking_energy": Case(
        grokking_energy.GrokkingEnergy(GroupArithmetic(m=5, width=4), Adam(0.01, beta2=0.95)),
        grokking_energy.views,
        "landscapes",
    ),
    "sgd_generalization_gap": Case(
        sgd_generalization_gap.GeneralizationGap(points=6),
        sgd_generalization_gap.views,
        "landscapes",
    ),
    "gradient_noise": Case(
        gradient_noise.GradientNoise(SINE, samples=2, draws=4), gradient_noise.views, "landscapes"
    ),
    "bandlimited_random_net": Case(
        bandlimited_random_net.CircleNet(lam=3.0, largest=20),
        bandlimited_random_net.views,
        "landscapes",
    ),
    "sampling_box": Case(sampling_box.RandomNet(largest=40), sampling_box.views, "landscapes"),
    "nonsmooth_descent": Case(
        nonsmooth_descent.NonsmoothDescent(), nonsmooth_descent.views, "landscapes"
    ),
    "convex_relu_training": Case(
        convex_relu_training.ConvexReluTraining(TwoLayerRelu(width=2), patterns=4, runs=2),
        convex_relu_training.views,
        "landscapes",
    ),
    "ntk_gan": Case(
        ntk_gan.NtkGan(ring(points=8), Kernel(tangent=0.5), loss="lsgan", points=6),
        ntk_gan.views,
        "landscapes",
    ),
    "spectral_density": Case(
        spectral_density.SpectralDensity(QUADRATIC, probes=4, order=4),
        spectral_density.views,
        "landscapes",
    ),
    "trace_estimate": Case(
        trace_estimate.TraceEstimate(QUADRATIC), trace_estimate.views, "landscapes"
    ),
    "hessian_spectrum": Case(
        hessian_spectrum.HessianSpectrum(CLUSTERS, drawn=2), hessian_spectrum.views, "landscapes"
    ),
    "eigenvector_move": Case(
        eigenvector_move.moves(CLUSTERS, CLUSTERS.start(jax.random.key(0))),
        eigenvector_move.views,
        "landscapes",
    ),
    "double_descent_optim": Case(
        replace(
            double_descent_optim.growing(double_descent_optim.drawn(10, 2, table=teacher), 4.0, 9),
            {"lr": 0.5},
        ),
        double_descent_optim.views,
        "landscapes",
    ),
    "feature_training": Case(
        feature_training.FeatureTraining(
            feature_training.Networks(double_descent_optim.drawn(10, 1, table=teacher)[0]),
            batch_size=4,
        ),
        feature_training.views,
        "landscapes",
    ),
    "linear_students": Case(
        linear_students.LinearStudents(jnp.linspace(0.0, 4.0, 9), d=4, draws=3),
        linear_students.views,
        "landscapes",
    ),
    "generalization_dynamics": Case(
        sweep(
            error_surface.Generalization(jnp.sin(jnp.arange(80.0) ** 2).reshape(20, 4)),
            jnp.logspace(-1.0, 2.0, 9),
            "time",
        ),
        generalization_dynamics.views,
        "landscapes",
    ),
    "neural_sort": Case(
        sweep(neural_sort.NeuralSort(), jnp.logspace(-2.0, 1.0, 9), "tau"),
        neural_sort.views,
        "relaxations",
    ),
    "sinkhorn_sort": Case(
        sweep(sinkhorn_sort.SinkhornSort(iterations=5), jnp.logspace(-1.0, 1.0, 9), "tau"),
        sinkhorn_sort.views,
        "relaxations",
    ),
    "softmax": Case(
        sweep(softmax.Softmax(), jnp.logspace(-1.0, 1.0, 9), "tau"), softmax.views, "relaxations"
    ),
    "sparsemax": Case(
        sweep(sparsemax.Entmax(), jnp.logspace(-1.0, 1.0, 9), "tau"),
        sparsemax.views,
        "relaxations",
    ),
    "sparse_map": Case(
        sweep(sparse_map.Sequence(), jnp.logspace(-1.0, 1.0, 9), "tau"),
        sparse_map.views,
        "relaxations",
    ),
    "soft_top_k": Case(
        sweep(soft_top_k.TopK(), jnp.logspace(-1.0, 1.0, 9), "tau"),
        soft_top_k.views,
        "relaxations",
    ),
    "sorting_network": Case(
        sweep(
            sorting_network.SortingNetwork(jnp.array([3.0, 1.0, 2.2, 0.0])),
            jnp.logspace(-2.0, 0.0, 9),
            "tau",
        ),
        sorting_network.views,
        "relaxations",
    ),
    "error_free_sort": Case(
        sweep(
            error_free_sort.ErrorFreeSort(jnp.array([3.0, 1.0, 2.2, 0.0])),
            jnp.linspace(0.0, 1.0, 9),
            "blend",
        ),
        error_free_sort.views,
        "relaxations",
    ),
    "neural_ndcg": Case(
        sweep(neural_ndcg.NeuralNdcg(rounds=3), jnp.logspace(-2.0, 1.0, 9), "tau"),
        neural_ndcg.views,
        "relaxations",
    ),
    "sparse_transport": Case(
        sparse_transport.SparseTransport(
            transport_problems.Clouds(jnp.eye(3)[:, :2], jnp.array([[0.5, 0.2], [-0.3, 0.4]])),
            k=8,  # more than there are sources
        ),
        sparse_transport.views,
        "relaxations",
    ),
    "metric_losses": Case(
        metric_losses.FreeEmbeddings(
            metric_losses.FreePoints(classes=2, each=2, dimension=2), Sgd(0.1)
        ),
        metric_losses.views,
        "relaxations",
    ),
    "gumbel_softmax": Case(
        replace(gumbel_softmax.example(), {"draws": 20}), gumbel_softmax.views, "relaxations"
    ),
    "straight_through": Case(
        sweep(straight_through.StraightThrough(draws=20), jnp.linspace(-4.0, 4.0, 9), "bend"),
        straight_through.views,
        "relaxations",
    ),
    "score_function": Case(
        sweep(score_function.ScoreFunction(estimates=20), jnp.linspace(-4.0, 4.0, 9), "offset"),
        score_function.views,
        "relaxations",
    ),
    "perturbed_argmax": Case(
        sweep(
            perturbed_argmax.PerturbedArgmax(samples=10, estimates=4),
            jnp.logspace(-1.0, 1.0, 9),
            "tau",
        ),
        perturbed_argmax.views,
        "relaxations",
    ),
    "confusion_loss": Case(
        confusion_loss.ConfusionLoss(confusion_loss.TwoGaussians(samples=40)),
        confusion_loss.views,
        "relaxations",
    ),
    "transport_pooling": Case(
        transport_pooling.TransportPooling(
            jnp.sin(jnp.arange(12.0)).reshape(3, 4),
            jnp.array([[1.0, 0.0], [0.6, 0.8]]),
            jnp.array([True, False]),
            jnp.array([[1.0, 0.1], [0.2, -1.0]]),
            mu=0.5,
            tau=0.5,
        ),
        transport_pooling.views,
        "relaxations",
    ),
    "isotonic_sort": Case(
        sweep(isotonic_sort.IsotonicSort(), jnp.logspace(-2.0, 2.0, 9), "tau"),
        isotonic_sort.views,
        "relaxations",
    ),
    "comparison": Case(
        comparison.compare("softmax", "gumbel", task="choose", draws=4),
        comparison.views,
        "relaxations",
    ),
    "partition_entropy": Case(
        partition_entropy.PartitionEntropy(jnp.sin(3.0 * jnp.arange(12.0)), runs=6),
        partition_entropy.views,
        "relaxations",
    ),
    "gathered_points": Case(
        gathered_points.GatheredPoints(jnp.sin(jnp.arange(16.0)).reshape(8, 2), anchors=3),
        gathered_points.views,
        "relaxations",
    ),
    "relaxed_programs": Case(
        relaxed_programs.RelaxedPrograms(trees=2, depth=1), relaxed_programs.views, "relaxations"
    ),
    "perceived_programs": Case(
        perceived_programs.PerceivedPrograms(
            perceived_programs.Pairs(jnp.sin(jnp.arange(256.0)).reshape(2, 2, 64), jnp.eye(2)),
            perceived_programs.Pairs(jnp.cos(jnp.arange(256.0)).reshape(2, 2, 64), jnp.eye(2)),
            tasks=2,
            trees=2,
        ),
        perceived_programs.views,
        "relaxations",
    ),
    "amortized_programs": Case(
        amortized_programs.AmortizedPrograms(trees=1, width=4),
        amortized_programs.views,
        "relaxations",
    ),
    "learned_rounding": Case(
        learned_rounding.LearnedRounding(neuron(8, 3), Sgd(0.1), length=8),
        learned_rounding.views,
        "relaxations",
    ),
    "envelope_path": Case(
        sweep(envelope_path.EnvelopePath(), jnp.logspace(-1.0, 1.0, 9), "lam"),
        envelope_path.views,
        "relaxations",
    ),
    "group_sparse_envelope": Case(
        group_sparse_envelope.GroupSparseEnvelope(digit_units(4, 40), k=2.0),
        group_sparse_envelope.views,
        "relaxations",
    ),
    "gate_microscope": Case(gate_microscope.example(9), gate_microscope.views, "relaxations"),
    "trainable_gate": Case(
        trainable_gate.TrainableGate(digit_units(4, 40), Sgd(0.1)),
        trainable_gate.views,
        "relaxations",
    ),
    "linear_surrogate": Case(
        linear_surrogate.LinearSurrogate(lattice.Lattice(k=3), Sgd(), samples=3, instances=2),
        linear_surrogate.views,
        "relaxations",
    ),
    "surrogate_prior": Case(
        surrogate_prior.PriorTraining(lattice.Lattice(k=3), Sgd(), samples=3, batch=2, tests=2),
        surrogate_prior.views,
        "relaxations",
    ),
    "optimality_margin": Case(
        optimality_margin.OptimalityMargin(
            polygon_programs.Programs(polygon_programs.polygon()), samples=4
        ),
        optimality_margin.views,
        "relaxations",
    ),
    "inverse_program": Case(inverse_program.example(), inverse_program.views, "relaxations"),
    "probabilistic_method": Case(
        probabilistic_method.ProbabilisticMethod(
            probabilistic_method.LogOdds(
                set_problems.Facilities(jnp.asarray(set_problems.scattered(5)), k=2)
            ),
            Sgd(0.1),
            descent_steps=4,
        ),
        probabilistic_method.views,
        "relaxations",
    ),
    "graph_relaxation": Case(
        graph_relaxation.GraphRelaxation(
            jnp.asarray(small_graphs.graph(4, [(0, 1), (1, 2), (2, 3)])), rule=Sgd(0.1)
        ),
        graph_relaxation.views,
        "relaxations",
    ),
    "soft_skeleton": Case(
        soft_skeleton.SoftSkeleton(jnp.full((5, 6), 0.9).at[2, 2].set(0.0)),
        soft_skeleton.views,
        "relaxations",
    ),
    "centerline_dice": Case(
        centerline_dice.CenterlineDice(
            centerline_dice.vessel_images(0, m=1, n=8),
            centerline_dice.vessel_images(1, m=1, n=8),
            width=2,
            rule=Adam(0.02, beta2=0.95),
        ),
        centerline_dice.views,
        "relaxations",
    ),
    "multiparameter_persistence": Case(
        multiparameter_persistence.MultiparameterPersistence(
            filtered_graphs.Cloud(filtered_graphs.two_circles(each=2))
        ),
        multiparameter_persistence.views,
        "relaxations",
    ),
    "smooth_orientation": Case(
        smooth_orientation.SmoothOrientation(FOUR_NODES, Adam(0.01, beta2=0.95)),
        smooth_orientation.views,
        "relaxations",
    ),
    "hand_orientation": Case(
        sweep(hand_orientation.example().function, jnp.logspace(0.0, -2.0, 9), "tau"),
        hand_orientation.views,
        "relaxations",
    ),
    "notears": Case(notears.Notears(FOUR_NODES), notears.views, "relaxations"),
    "transportable_structure": Case(
        transportable_structure.TransportableStructure(
            FOUR_NODES, Adam(0.01, beta2=0.95), learners=2, inner=3
        ),
        transportable_structure.views,
        "relaxations",
    ),
    "topological_swaps": Case(
        topological_swaps.TopologicalSwaps(FOUR_NODES, small=2, large=4),
        [orders.walk, *topological_swaps.views],
        "relaxations",
    ),
    "darts": Case(darts.toy(0.5), darts.views, "relaxations"),
    "low_temperature_search": Case(
        low_temperature_search.LowTemperatureSearch(small(("identity", "tanh")), **PLAIN),
        [race(("identity", "tanh")), *low_temperature_search.views[1:]],
        "relaxations",
    ),
    "perturbation_selection": Case(
        perturbation_selection.PerturbationSelection(
            CellSearch(small(("zero", "tanh"))), search=2.0, tuning=1.0, **PLAIN
        ),
        [perturbation_selection.strength(("zero", "tanh")), *perturbation_selection.views[2:]],
        "relaxations",
    ),
    "robust_darts": Case(
        robust_darts.RobustDarts(CellSearch(small(("noise", "tanh"))), **PLAIN),
        [race(("noise", "tanh")), *robust_darts.views[1:]],
        "relaxations",
    ),
    "differentiable_ransac": Case(
        replace(
            differentiable_ransac.example(),
            {
                "hypotheses": 2,
                "points": jnp.array([[-0.9, -0.3], [0.0, 0.1], [0.8, 0.5], [0.3, -0.7]]),
            },
        ),
        differentiable_ransac.views,
        "relaxations",
    ),
    "two_view_sampling": Case(
        two_view_sampling.TwoViewSampling(
            two_views.two_views(0, 1, 10),
            two_views.two_views(1, 1, 10),
            hypotheses=2,
        ),
        two_view_sampling.views,
        "relaxations",
    ),
    "feature_moments": Case(
        sweep(
            feature_moments.Learnability(features=3, most=9, repeats=2),
            jnp.arange(2.0, 10.0),
            "samples",
        ),
        feature_moments.views,
        "relaxations",
    ),
    "feature_gradients": Case(
        feature_gradients.FeatureGradients(feature_tables.planted(0, 20, 6, 2), order=2),
        feature_gradients.views,
        "relaxations",
    ),
    "proxy_search": Case(
        proxy_search.ProxySearch(
            pairwise_landscape.PairwiseLandscape(correlation=0.5, edges=2, operations=3),
            width=4,
            proxies=2,
            first=3,
            each=1,
            budget=9,
            starts=2,
        ),
        proxy_search.views,
        "relaxations",
    ),
    "quantile_actor_search": Case(
        quantile_actor_search.QuantileActorSearch(
            pairwise_landscape.PairwiseLandscape(correlation=0.5, edges=2, operations=3),
            k=2,
            width=4,
            updates=2,
            first=3,
            budget=12,
        ),
        quantile_actor_search.views,
        "relaxations",
    ),
    "search_controls": Case(
        search_controls.SearchControl(
            pairwise_landscape.PairwiseLandscape(correlation=0.5, edges=2, operations=3),
            "evolution",
            first=3,
            each=1,
            budget=9,
            population=4,
            drawn=2,
        ),
        [proxy_search.views[0]],
        "relaxations",
    ),
    "gradual_pruning_search": Case(
        gradual_pruning_search.GradualPruning(candidates.candidates(samples=20), updates=2),
        gradual_pruning_search.views,
        "relaxations",
    ),
    "soft_sort": Case(
        sweep(soft_sort.SoftSort(), jnp.logspace(-2.0, 1.0, 9), "tau"),
        soft_sort.views,
        "relaxations",
    ),
}

PART = os.environ.get("LABKIT_PART", "")
CASES = {name: case for name, case in ALL.items() if PART in ("", case.part) or not case.part}
