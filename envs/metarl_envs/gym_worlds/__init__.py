"""Third-party Gymnasium environments in worker processes; their errors are reported as theirs."""
