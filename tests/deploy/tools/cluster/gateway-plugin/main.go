// gateway-plugin stands in for Argo Rollouts' plugin for the Gateway API, whose module is not to be had: it moves the
// weights of one HTTPRoute, as the plugin does, by the same calls of the API server. Whatever else a Rollout asks of the
// plugin, it refuses, so that no rehearsal passes by what only the stand-in leaves out.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/rollout/trafficrouting/plugin/rpc"
	"github.com/argoproj/argo-rollouts/utils/plugin/types"
	"github.com/hashicorp/go-plugin"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	name = "argoproj-labs/gatewayAPI"
	// Argo CD leaves the rules of a route alone that has this label.
	labelKey, labelValue = "rollouts.argoproj.io/gatewayapi-canary", "in-progress"
	whole                = 100
)

var routes = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}

// settings is what a Rollout says below the plugin's name.
type settings struct {
	HTTPRoute string `json:"httpRoute"`
	Namespace string `json:"namespace"`
}

type router struct{ client dynamic.Interface }

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  1,
			MagicCookieKey:   "ARGO_ROLLOUTS_RPC_PLUGIN",
			MagicCookieValue: "trafficrouter",
		},
		Plugins: map[string]plugin.Plugin{"RpcTrafficRouterPlugin": &rpc.RpcTrafficRouterPlugin{Impl: &router{}}},
	})
}

// InitPlugin takes the cluster that KUBECONFIG names, or else the one that it runs in.
func (r *router) InitPlugin() types.RpcError {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return said(err)
	}
	r.client, err = dynamic.NewForConfig(config)
	return said(err)
}

func (r *router) SetWeight(of *v1alpha1.Rollout, weight int32, more []v1alpha1.WeightDestination) types.RpcError {
	if len(more) > 0 {
		return said(errors.New("the stand-in weighs no experiments"))
	}
	wanted, err := read(of)
	if err != nil {
		return said(err)
	}
	client := r.client.Resource(routes).Namespace(wanted.Namespace)
	route, err := client.Get(context.Background(), wanted.HTTPRoute, metav1.GetOptions{})
	if err != nil {
		return said(err)
	}
	canary := of.Spec.Strategy.Canary
	if err := weigh(route, map[string]int64{canary.CanaryService: int64(weight), canary.StableService: int64(whole - weight)}); err != nil {
		return said(err)
	}
	mark(route, weight != 0)
	_, err = client.Update(context.Background(), route, metav1.UpdateOptions{})
	return said(err)
}

func (r *router) VerifyWeight(*v1alpha1.Rollout, int32, []v1alpha1.WeightDestination) (types.RpcVerified, types.RpcError) {
	return types.Verified, types.RpcError{}
}

// UpdateHash has nothing to do: the route names services, and the controller moves those.
func (r *router) UpdateHash(*v1alpha1.Rollout, string, string, []v1alpha1.WeightDestination) types.RpcError {
	return types.RpcError{}
}

func (r *router) SetHeaderRoute(*v1alpha1.Rollout, *v1alpha1.SetHeaderRoute) types.RpcError {
	return said(errors.New("the stand-in routes by no headers"))
}

func (r *router) SetMirrorRoute(*v1alpha1.Rollout, *v1alpha1.SetMirrorRoute) types.RpcError {
	return said(errors.New("the stand-in mirrors nothing"))
}

func (r *router) RemoveManagedRoutes(of *v1alpha1.Rollout) types.RpcError {
	if len(of.Spec.Strategy.Canary.TrafficRouting.ManagedRoutes) > 0 {
		return said(errors.New("the stand-in manages no routes"))
	}
	return types.RpcError{}
}

func (r *router) Type() string { return "GatewayAPI" }

func read(of *v1alpha1.Rollout) (settings, error) {
	wanted := settings{Namespace: of.Namespace}
	decoder := json.NewDecoder(bytes.NewReader(of.Spec.Strategy.Canary.TrafficRouting.Plugins[name]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wanted); err != nil {
		return wanted, fmt.Errorf("what the Rollout says to %s: %w", name, err)
	}
	if wanted.HTTPRoute == "" {
		return wanted, fmt.Errorf("the Rollout names no httpRoute to %s", name)
	}
	return wanted, nil
}

// weigh sets the weights of services wherever a rule of the route leads to them, which must be somewhere for each.
func weigh(route *unstructured.Unstructured, weights map[string]int64) error {
	rules, _, err := unstructured.NestedSlice(route.Object, "spec", "rules")
	if err != nil {
		return err
	}
	found := map[string]bool{}
	for _, rule := range rules {
		backends, _ := rule.(map[string]any)["backendRefs"].([]any)
		for _, one := range backends {
			backend := one.(map[string]any)
			service, _ := backend["name"].(string)
			if weight, ours := weights[service]; ours {
				backend["weight"], found[service] = weight, true
			}
		}
	}
	for service := range weights {
		if !found[service] {
			return fmt.Errorf("no rule of %s leads to %s", route.GetName(), service)
		}
	}
	return unstructured.SetNestedSlice(route.Object, rules, "spec", "rules")
}

// mark says on the route whether a canary is on its way.
func mark(route *unstructured.Unstructured, on bool) {
	labels := route.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, labelKey)
	if on {
		labels[labelKey] = labelValue
	}
	route.SetLabels(labels)
}

func said(err error) types.RpcError {
	if err == nil {
		return types.RpcError{}
	}
	return types.RpcError{ErrorString: err.Error()}
}
