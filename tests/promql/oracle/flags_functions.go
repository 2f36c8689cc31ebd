//go:build functions || durations

package main

import "github.com/prometheus/prometheus/promql/parser"

// Since 2.49.
func init() { parser.EnableExperimentalFunctions = true }
