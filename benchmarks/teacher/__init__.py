"""What the teacher service costs relative to the bare forward pass: loads, soak and devices."""
