"""Early exits: where an inference can end, the branch that answers there, how it is trained and attached."""
