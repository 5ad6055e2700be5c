"""What the model can do: plain tools on the staged folder, and the checks. No shell."""
