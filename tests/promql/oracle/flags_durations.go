//go:build durations

package main

import "github.com/prometheus/prometheus/promql/parser"

// Since 3.4.
func init() { parser.ExperimentalDurationExpr = true }
