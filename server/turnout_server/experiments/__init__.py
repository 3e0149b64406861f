"""Questions about routes: how they are asked, and what the journal and outcomes say to them."""
