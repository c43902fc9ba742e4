"""ADForward and BaselineForward: from a call of a model to its answer under masks."""
