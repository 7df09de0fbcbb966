"""What optimizers really do over time.

Reading order: edge_of_stability, gradient_flow, edge_model, opposing_toy, opposing_signals,
planted_digits, spike_microscope.
"""
