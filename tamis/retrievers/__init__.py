"""First stages: an index part and a query encoder make candidates; fusion joins the candidates of several."""
