"""Discrete things with gradients.

Reading order:
choosing: softmax, sparsemax, sparse_map, soft_top_k, gumbel_softmax, straight_through,
score_function, perturbed_argmax;
ordering: order, soft_sort, neural_sort, sinkhorn_sort, isotonic, isotonic_sort, swap, network,
sorting_network, error_free_sort, learning_to_order, operators, comparison;
metrics: formulas, confusion, imbalanced, confusion_loss, confusion_views, ranking_metrics,
neural_ndcg, ranking_lists;
matching: sparse_column, transport_problems, sparse_transport, bags, partial_transport,
transport_pooling, bag_training, pair_losses, proxy_losses, embedding_loss, metric_losses,
loss_forces, open_set;
combinations: expectations, set_problems, small_graphs, probabilistic_method, set_views,
graph_relaxation, lattice, solver_gradients, surrogate_prior, linear_surrogate, polygon_programs,
decision_losses, inverse_program, optimality_margin, minimal_sets, set_draws, drawn_scores,
differentiable_ransac, two_views, two_view_sampling;
graphs: structural_equations, acyclicity, graph_views, notears, hand_orientation,
smooth_orientation, structure_domains, transportable_structure, orders, topological_swaps;
architectures: cells, cell_table, cell_search, hypergradient, darts, low_temperature_search,
perturbation_selection, robust_darts, candidates, gated_cells, gradual_pruning_search,
pairwise_landscape, architecture_queries, small_network, search_controls, search_views,
proxy_search, quantile_actor_search;
gates and rounding: hidden_units, trainable_gate, gate_microscope, pruning_comparison,
group_envelope, group_problems, group_sparse_envelope, envelope_path, feature_moments,
feature_tables, feature_gradients, roundings, rounding_views, learned_rounding,
quantized_network, boolean_programs, relaxed_programs, perceived_programs, amortized_programs;
topology: shapes, simple_points, morphological_skeleton, soft_skeleton, centerline_dice,
signed_measures, filtered_graphs, staircase_views, multiparameter_persistence;
work: range_partitions, partition_entropy, gathered_points.
"""
