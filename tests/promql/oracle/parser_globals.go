//go:build globals

package main

import "github.com/prometheus/prometheus/promql/parser"

// In older releases the options are variables of the package; flags_*.go set those that a release has.
var (
	plain    = &reader{parser.ParseExpr, parser.ParseMetricSelector}
	unquoted *reader
)
