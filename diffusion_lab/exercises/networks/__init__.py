"""What exercises share in which the learner builds a network."""
