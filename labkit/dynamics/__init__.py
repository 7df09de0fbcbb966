"""What optimizers really do over time.

Reading order: edge_of_stability, gradient_flow, edge_model, adaptive_edge, complementarity,
central_flow, beside_descent, phase_diagram.
"""
