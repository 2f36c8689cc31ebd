// The second reader: prints what Prometheus' own parser makes of a query.
//
// Each line of the input is a JSON object, {"query": "..."} or {"selector": "..."} or {"functions": true}; each
// line of the output answers one of them. A query is parsed twice, without and with the feature flag
// `promql-unquoted-utf8-names`; all other experimental features are on. Strings of a tree are quoted in ASCII, so
// that bytes which are no UTF-8 stay apart.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

type request struct {
	Query     *string `json:"query"`
	Selector  *string `json:"selector"`
	Functions bool    `json:"functions"`
}

type reading struct {
	Tree  any    `json:"tree,omitempty"`
	Error string `json:"error,omitempty"`
}

type answer struct {
	Default   reading  `json:"default"`
	Unquoted  reading  `json:"unquoted"`
	Functions []string `json:"functions,omitempty"`
}

type node = map[string]any

func quoted(text string) string { return strconv.QuoteToASCII(text) }

func quotedAll(texts []string) []string {
	out := make([]string, 0, len(texts))
	for _, text := range texts {
		out = append(out, quoted(text))
	}
	return out
}

func number(value float64) string { return strconv.FormatFloat(value, 'g', -1, 64) }

func matchers(list []*labels.Matcher) []any {
	out := make([]any, 0, len(list))
	for _, m := range list {
		out = append(out, []string{quoted(m.Name), m.Type.String(), quoted(m.Value)})
	}
	return out
}

func duration(expr *parser.DurationExpr) any {
	if expr == nil {
		return nil
	}
	return tree(expr)
}

func fill(value *float64) any {
	if value == nil {
		return nil
	}
	return number(*value)
}

func timestamp(value *int64) any {
	if value == nil {
		return nil
	}
	return *value
}

func tree(expr parser.Expr) any {
	switch e := expr.(type) {
	case nil:
		return nil
	case *parser.AggregateExpr:
		return node{
			"node": "aggregation", "op": e.Op.String(), "grouping": quotedAll(e.Grouping), "without": e.Without,
			"parameter": tree(e.Param), "expr": tree(e.Expr),
		}
	case *parser.BinaryExpr:
		out := node{
			"node": "binary", "op": e.Op.String(), "bool": e.ReturnBool, "left": tree(e.LHS), "right": tree(e.RHS),
		}
		if m := e.VectorMatching; m != nil {
			out["matching"] = node{
				"card": m.Card.String(), "labels": quotedAll(m.MatchingLabels), "on": m.On,
				"include": quotedAll(m.Include), "fill": []any{fill(m.FillValues.LHS), fill(m.FillValues.RHS)},
			}
		}
		return out
	case *parser.Call:
		arguments := make([]any, 0, len(e.Args))
		for _, argument := range e.Args {
			arguments = append(arguments, tree(argument))
		}
		return node{"node": "call", "function": e.Func.Name, "arguments": arguments}
	case *parser.DurationExpr:
		return node{
			"node": "duration", "op": e.Op.String(), "wrapped": e.Wrapped, "left": tree(e.LHS), "right": tree(e.RHS),
		}
	case *parser.MatrixSelector:
		return node{
			"node": "matrix", "range": int64(e.Range), "range_expr": duration(e.RangeExpr), "selector": tree(e.VectorSelector),
		}
	case *parser.SubqueryExpr:
		return node{
			"node": "subquery", "expr": tree(e.Expr), "range": int64(e.Range), "range_expr": duration(e.RangeExpr),
			"step": int64(e.Step), "step_expr": duration(e.StepExpr), "offset": int64(e.OriginalOffset),
			"offset_expr": duration(e.OriginalOffsetExpr), "at": timestamp(e.Timestamp), "start_or_end": int(e.StartOrEnd),
		}
	case *parser.VectorSelector:
		return node{
			"node": "selector", "name": quoted(e.Name), "matchers": matchers(e.LabelMatchers),
			"offset": int64(e.OriginalOffset), "offset_expr": duration(e.OriginalOffsetExpr), "at": timestamp(e.Timestamp),
			"start_or_end": int(e.StartOrEnd), "anchored": e.Anchored, "smoothed": e.Smoothed,
		}
	case *parser.NumberLiteral:
		return node{"node": "number", "value": number(e.Val), "duration": e.Duration}
	case *parser.StringLiteral:
		return node{"node": "string", "value": quoted(e.Val)}
	case *parser.ParenExpr:
		return node{"node": "paren", "expr": tree(e.Expr)}
	case *parser.UnaryExpr:
		return node{"node": "unary", "op": e.Op.String(), "expr": tree(e.Expr)}
	default:
		panic(fmt.Sprintf("a node that this program does not know: %T", expr))
	}
}

func read(p parser.Parser, r request) (out reading) {
	if r.Selector != nil {
		list, err := p.ParseMetricSelector(*r.Selector)
		if err != nil {
			return reading{Error: err.Error()}
		}
		// The API refuses these after the parser, see parseMatchersParam in web/api/v1.
		for _, m := range list {
			if !m.Matches("") {
				return reading{Tree: node{"node": "selector", "matchers": matchers(list)}}
			}
		}
		return reading{Error: "no matcher that refuses the empty string"}
	}
	expr, err := p.ParseExpr(*r.Query)
	if err != nil {
		return reading{Error: err.Error()}
	}
	return reading{Tree: tree(expr)}
}

func main() {
	options := parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true}
	plain := parser.NewParser(options)
	options.EnableUnquotedUTF8Names = true
	unquoted := parser.NewParser(options)

	input := bufio.NewScanner(os.Stdin)
	input.Buffer(make([]byte, 1<<20), 64<<20)
	output := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(output)
	for input.Scan() {
		var r request
		if err := json.Unmarshal(input.Bytes(), &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		var a answer
		if r.Functions {
			for name := range parser.Functions {
				a.Functions = append(a.Functions, name)
			}
			sort.Strings(a.Functions)
		} else {
			a.Default, a.Unquoted = read(plain, r), read(unquoted, r)
		}
		if err := encoder.Encode(a); err != nil {
			os.Exit(1)
		}
	}
	if err := input.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := output.Flush(); err != nil {
		os.Exit(1)
	}
}
