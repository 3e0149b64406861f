//! Who answers: the route table as a snapshot, and the split. The twin of `routing/`.
