"""What optimizers really do over time.

Reading order: edge_of_stability, gradient_flow, edge_model; geometries, interpolants, margins,
optimizer_bias, two_tasks, designs.
"""
