"""Discrete things with gradients.

Reading order:
choosing: softmax, sparsemax, sparse_map, soft_top_k, gumbel_softmax, straight_through,
score_function, perturbed_argmax;
ordering: order, soft_sort, neural_sort, sinkhorn_sort, isotonic, isotonic_sort,
swap, network, sorting_network, error_free_sort, learning_to_order, comparison;
metrics: confusion_loss, neural_ndcg;
matching: sparse_column, transport_problems, sparse_transport, transport_pooling, metric_losses.
"""
