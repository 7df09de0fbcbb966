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
combinations: set_problems, probabilistic_method, lattice, linear_surrogate, polygon_programs,
optimality_margin, minimal_sets, differentiable_ransac;
graphs: structural_equations, acyclicity, smooth_orientation, transportable_structure,
topological_swaps;
architectures: cells, cell_table, darts, low_temperature_search, perturbation_selection,
robust_darts, candidates, gradual_pruning_search, pairwise_landscape, proxy_search,
quantile_actor_search;
gates and rounding: trainable_gate, group_sparse_envelope, feature_gradients, learned_rounding,
boolean_programs, relaxed_programs;
topology: simple_points, soft_skeleton, signed_measures, multiparameter_persistence,
range_partitions, partition_entropy, gathered_points.
"""
