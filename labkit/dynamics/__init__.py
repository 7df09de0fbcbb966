"""What optimizers really do over time.

Reading order: edge_of_stability, gradient_flow, edge_model; schedules, nonsmooth,
schedule_bound, schedule_tuning, drawn_schedule, optimal_schedule, sampled_descent,
schedule_refinement.
"""
