//go:build !globals

package main

import "github.com/prometheus/prometheus/promql/parser"

var plain, unquoted = newReader(false), newReader(true)

func newReader(unquotedNames bool) *reader {
	p := parser.NewParser(parser.Options{
		EnableExperimentalFunctions: true,
		EnableBinopFillModifiers:    true,
		EnableUnquotedUTF8Names:     unquotedNames,
	})
	return &reader{p.ParseExpr, p.ParseMetricSelector}
}
