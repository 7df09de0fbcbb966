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
loss_forces, open_set.
"""
