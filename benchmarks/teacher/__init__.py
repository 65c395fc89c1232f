"""What the teacher service costs, against the bare forward: loads, soak and devices."""
